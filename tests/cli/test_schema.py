"""The schema of run files, and the reference of their keys in the docs."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jaxdiff.cli import app
from jaxdiff.runs import reference
from jaxdiff.runs.reference import RUN_FILES

DOCUMENT = Path(__file__).parents[2] / "docs/keys.md"
EVERY = [(name, key) for name, kind in RUN_FILES.items() for key in reference.keys(kind)]
EVERY += [(name, key) for name, own in reference.scratch_keys().items() for key in own]


def called(*arguments):
    result = CliRunner().invoke(app, ["schema", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_reference_in_the_docs_is_that_of_the_code():
    """Write it again: jaxdiff schema --keys > docs/keys.md."""
    assert called("--keys") == DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize(("command", "key"), EVERY, ids=lambda x: getattr(x, "name", x))
def test_every_key_has_a_meaning_and_an_example(command, key):
    assert key.meaning.endswith("."), f"{command}: {key.name} has no meaning"
    assert key.example, f"{command}: {key.name} has no example"


@pytest.mark.parametrize("command", RUN_FILES)
def test_schemas_are_those_of_the_commands(command):
    one = json.loads(called(command))
    assert one == json.loads(called())[command]
    assert one["properties"].keys() == RUN_FILES[command].model_fields.keys()
    assert one["additionalProperties"] is False


@pytest.mark.parametrize("command", ["lattice", "campaign"])
def test_commands_that_share_a_run_file_have_its_schema(command):
    assert called(command) == called("simulate")


def test_a_schema_knows_bounds_and_choices():
    sections = json.loads(called("simulate"))["$defs"]
    assert sections["EnsembleSection"]["properties"]["timestep_fs"]["maximum"] == 10
    thermostats = sections["ProductionSection"]["properties"]["thermostat"]["enum"]
    assert "csvr" in thermostats
    assert "cell-rescaling" not in thermostats
