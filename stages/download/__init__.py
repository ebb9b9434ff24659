"""The download stage: `data/raw/`, complete and verified, or nothing."""
