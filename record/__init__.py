"""Reads a state of the repository: a commit or the working tree. It judges and writes nothing."""
