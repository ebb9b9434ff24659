"""What may happen to a pipeline, done to it on purpose."""
