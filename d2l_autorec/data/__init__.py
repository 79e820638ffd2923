"""Ratings and clicks: how they are read, generated and split. Nothing here imports MXNet."""
