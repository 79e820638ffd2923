"""The models: networks, one a file, their options (`kinds`, `catalog`) and their `registry`."""
