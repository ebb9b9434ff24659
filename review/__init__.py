"""What a pull request shows and what stops it. It reads commits, not stages: nothing here is part of the pipeline."""
