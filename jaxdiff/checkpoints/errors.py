"""The one exception of this package."""


class CheckpointError(Exception):
    """A model file cannot be read, written or fetched; the message says what to do."""
