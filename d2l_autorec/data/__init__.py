"""Ratings and clicks: read, generated, split. Imports no MXNet."""
