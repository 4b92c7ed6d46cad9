"""Where compiled programs are kept, and where not."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from jaxdiff.cli import app
from jaxdiff.devices import keep_programs

PROGRAM = """
import sys
from jaxdiff.devices import keep_programs
keep_programs(sys.argv[1])
import jax
print(float(jax.jit(lambda x: x + 1)(1.0)))
"""


def test_programs_are_kept_in_a_directory_of_our_own(tmp_path):
    folder = tmp_path / "deep" / "programs"
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    own = {**os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    counts = []
    for _ in range(2):
        subprocess.run(command, env=own, check=True, capture_output=True)
        counts.append(len(list(folder.iterdir())))
    assert counts[0] > 0
    assert counts[0] == counts[1]  # the second run finds them
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_can_write_to_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(ValueError, match="chmod 700"):
        keep_programs(tmp_path)
    result = CliRunner().invoke(app, ["--compilation-cache", str(tmp_path), "model"])
    assert result.exit_code == 2
    assert "is not yours or can be written by others" in result.output


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be made"):
        keep_programs(tmp_path / "file")
