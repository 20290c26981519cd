"""Checkpoint files, the state of unfinished runs, and which file came from which."""
