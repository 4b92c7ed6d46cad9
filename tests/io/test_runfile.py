import json

import pytest

from jaxdiff.io import runfile
from jaxdiff.io.barrierfile import BarrierFile
from jaxdiff.io.config import checked

RUN = """
[model]
name_or_path = "lif-compact"
[system]
supercell = 3
[ensemble]
temperatures_kelvin = [500, 600]
replicas_per_temperature = 2
timestep_fs = 2
seed = 1
[equilibration]
duration_ps = 1
[production]
duration_ps = 4
[output]
directory = "out"
"""


@pytest.fixture
def read(tmp_path):
    def read(text=RUN, overrides=()):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return runfile.load(path, overrides)

    return read


def test_defaults_and_derived_numbers(read):
    run = read()
    assert run.system.supercell == (3, 3, 3)
    assert run.model.precision == "float32"
    assert run.n_replicas == 4
    assert run.steps(run.production.duration_ps) == 2000
    assert run.steps_per_frame == 10
    assert run.frames_per_chunk == 50


def test_resolved_file_is_the_same_run(read):
    run = read()
    assert read(runfile.to_toml(run)) == run


def test_overrides(read):
    run = read(overrides=["ensemble.seed=7", "output.directory=runs/other",
                          "ensemble.temperatures_kelvin=[400]"])  # fmt: skip
    assert run.ensemble.seed == 7
    assert run.output.directory == "runs/other"
    assert run.ensemble.temperatures_kelvin == (400.0,)


def without(line):
    return RUN.replace(line + "\n", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (without("seed = 1"), "ensemble.seed is missing; give a whole number"),
        (without("duration_ps = 4"), "production.duration_ps is missing"),
        (RUN.replace("seed", "sead"), r"ensemble.sead is not known; did you mean seed\?"),
        (RUN.replace("timestep_fs = 2", "timestep_ps = 0.002"), "write timestep_fs"),
        (RUN.replace("timestep_fs", "timestep"), "part of the key, write timestep_fs"),
        (RUN.replace("timestep_fs = 2", "timestep_fs = 20"), "= 20: .* 10"),
        (RUN.replace("timestep_fs = 2", "timestep_fs = 0.002"), "= 0.002: .* 0.01"),
        (RUN.replace("[500, 600]", "[500, 0]"), "0.0 K is outside 0 to 5000 K"),
        (RUN.replace("[500, 600]", "[500, 500]"), "a temperature occurs twice"),
        (RUN.replace("[500, 600]", "[]"), "temperatures_kelvin"),
        (RUN.replace("[500, 600]", '["hot"]'), "temperatures_kelvin.0"),
        (RUN.replace("[500, 600]", "500"), "500: input should be a list in square"),
        (RUN.replace("supercell = 3", "supercell = 1"), "each number must be at least 2"),
        (RUN.replace("timestep_fs = 2", "timestep_fs = 3"), "hops.stride_fs is 20 fs"),
        (RUN.replace("duration_ps = 4", "duration_ps = 4.001"), "use 4000 or 4002 fs"),
        (RUN.replace("duration_ps = 4", "duration_ps = 0.04"), "shorter than one dwell"),
        (RUN + "[hop]\nstride_fs = 20\n", r"hop is not known; did you mean hops\?"),
        (RUN.replace("supercell = 3", 'supercell = 3\nstructure_files = ["a", "b"]'),
         "names 2 files for 4 replicas"),
        (RUN.replace("[model]", "[model"), "is not valid TOML"),
    ],
)  # fmt: skip
def test_faults_are_told_in_one_sentence(read, text, message):
    with pytest.raises(runfile.RunFileError, match=message):
        read(text)


@pytest.mark.parametrize(
    ("paths", "fault"),
    [
        (["diagonal"], 'system.paths.0 = "diagonal": input should be'),
        ([], "system.paths = []: give at least 1."),
    ],
)
def test_a_list_is_too_short_only_if_it_is(paths, fault):
    """Not where an item of it has a fault of its own."""
    table = {"model": {}, "system": {"paths": paths}, "output": {"directory": "x"}}
    with pytest.raises(runfile.RunFileError) as caught:
        checked(BarrierFile, table)
    assert [x for x in str(caught.value).splitlines() if "paths" in x] == [
        x for x in str(caught.value).splitlines() if x.startswith(fault)
    ]
    assert fault in str(caught.value)


def test_all_faults_are_told_at_once(read):
    text = RUN.replace("seed = 1", "").replace("supercell", "super_cell")
    text = text.replace("duration_ps = 4", "")
    with pytest.raises(runfile.RunFileError) as caught:
        read(text)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("override", ["seed=7", "ensemble.seed", "ensemble.=3"])
def test_override_of_the_wrong_form(read, override):
    with pytest.raises(runfile.RunFileError, match="not of the form section.key=value"):
        read(overrides=[override])


def test_overrides_reach_tables_within_sections():
    table = {"optimizer": {"rate_factors": {"products": 2.0}, "epochs": 1}}
    changes = ["optimizer.rate_factors.embedding=0.5", "optimizer.epochs=3"]
    found = runfile.overridden(table, changes)
    factors = {"products": 2.0, "embedding": 0.5}
    assert found == {"optimizer": {"rate_factors": factors, "epochs": 3}}
    assert table["optimizer"]["epochs"] == 1
    with pytest.raises(runfile.RunFileError, match="optimizer.epochs is a value, not a"):
        runfile.overridden(table, ["optimizer.epochs.first=1"])


def test_missing_run_file(tmp_path):
    with pytest.raises(runfile.RunFileError, match="does not exist"):
        runfile.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "kept", [json.dumps, lambda o: runfile.table_to_toml({"analyze": o})]
)
def test_options_kept_in_a_series_come_back(kept):
    """As JSON, as they once were, and as TOML, which leaves out what is None."""
    options = {
        "mobile": "Li",
        "frame_ps": 0.02,
        "temperature_kelvin": [600.0],
        "wrap": True,
    }
    text = kept(options | {"topology": None})
    found = runfile.table_of(text)["analyze"]
    assert {k: v for k, v in found.items() if v is not None} == options
    assert runfile.table_of("") == {}
    with pytest.raises(ValueError, match="Expecting value"):
        runfile.table_of("[neither")
