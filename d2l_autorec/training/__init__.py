"""Training: the loop, and its loaders, losses, devices, schedules and checkpoints."""
