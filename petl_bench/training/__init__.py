"""One training loop, losses, schedules, evaluation and metrics."""
