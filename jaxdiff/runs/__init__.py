"""Runs on disk: a study split into units, where each is, and how they are joined."""
