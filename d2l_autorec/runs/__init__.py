"""A run: its options, its task, its folder, its figures."""
