"""The loop and what it takes: loaders, losses, devices, schedules, checkpoints."""
