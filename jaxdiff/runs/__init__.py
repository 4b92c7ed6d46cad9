"""Runs on disk: from a run file to a series, through checkpoints; campaigns of runs."""
