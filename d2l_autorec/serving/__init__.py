"""Answers of a trained model: in Python, over HTTP, and as files for other programs."""
