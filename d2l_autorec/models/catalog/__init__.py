"""The models of this package, one a file; see `models.registry`."""
