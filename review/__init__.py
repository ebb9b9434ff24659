"""Judges a pull request and writes what it changes. It reads commits and is not part of the pipeline."""
