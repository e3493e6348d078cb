"""From pictures to batches: transforms, cache, workers."""
