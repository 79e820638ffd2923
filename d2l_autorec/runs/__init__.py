"""Runs: their options, training, folders, tables, figures and searches."""
