import os
import tomllib
from pathlib import Path

import pytest

from jaxdiff.io import runfile
from jaxdiff.runs import campaign

STUDY = """
[model]
name_or_path = "lif-compact"
[system]
supercell = 2
[ensemble]
temperatures_kelvin = [600, 900]
replicas_per_temperature = {replicas}
timestep_fs = 2
seed = 7
[equilibration]
duration_ps = 0.04
[production]
duration_ps = 0.12
[output]
directory = "somewhere"
chunk_ps = 0.04
positions_every_ps = 0.04
"""


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Processes that tests start import the package that the tests do."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


@pytest.fixture
def compiled_once(programs, monkeypatch):
    """Runs of their own processes compile a program once for all of them."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", programs)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture
def study():
    """A study of twice so many replicas."""

    def study(replicas=2, *overrides):
        table = tomllib.loads(STUDY.format(replicas=replicas))
        return runfile.parse(runfile.overridden(table, overrides))

    return study


@pytest.fixture
def planned(tmp_path, study):
    """Four units of one replica each, and a way to say what the stub does in a unit."""
    planned = campaign.plan(study(), tmp_path / "c", n_units=4)

    def behave(index, what):
        (planned.directory / f"{index:04d}.behaviour").write_text(what)

    return planned, behave
