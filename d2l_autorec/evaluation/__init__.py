"""Metrics, and the evaluations that measure a network by them."""
