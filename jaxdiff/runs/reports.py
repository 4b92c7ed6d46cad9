"""The report of a run: of hops where sites were followed, else of displacements."""

from pathlib import Path

from jaxdiff.report import write_report, write_transport_report
from jaxdiff.runs.kept import is_kept, study_kept


def write(run_dir: str | Path, *, allow_incomplete: bool = False) -> Path:
    """Write the report into the folder of a run; the path of its first file."""
    directory = Path(run_dir)
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory} is not a folder; give the folder of a run.")
    if is_kept(directory, allow_incomplete=allow_incomplete):
        found = study_kept(directory, allow_incomplete=allow_incomplete)
        return write_transport_report(*found, directory)
    return write_report(directory, allow_incomplete=allow_incomplete)
