"""Metrics, and what measures a network by them."""
