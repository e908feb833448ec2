"""The trainer: configuration, step, schedule, checkpoints, evaluation, and the controller that connects them."""
