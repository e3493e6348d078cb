"""One training loop, losses, schedules, evaluation and metrics."""

#: Raised when the content of a checkpoint changes.
CHECKPOINT_FORMAT = 3
