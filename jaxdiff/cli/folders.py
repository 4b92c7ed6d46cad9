"""Folders that commands write into."""

from pathlib import Path


def fresh_folder(directory: Path, name: str, option: str) -> Path:
    """The folder, made if need be; what is in one already is never overwritten.

    - `name`, `option`: what the user calls it, and how to give another one.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(
            f"{name} {directory} is not empty, and a run overwrites nothing; give another "
            f"one ({option}) or move it away."
        )
    directory.mkdir(parents=True, exist_ok=True)
    return directory
