"""Run files of any content: one sentence that names file and key, at once."""

import math
import random
import sys
import tomllib
from pathlib import Path

import pytest

from jaxdiff.io import barrierfile, labelfile, loopfile, runfile, trainfile
from jaxdiff.runs import memory, start

ROOT = Path(__file__).parents[2]
SIMULATE = (ROOT / "simulate/lif_demo.toml").read_text()


def loaded(tmp_path, content, load=runfile.load):
    path = tmp_path / "run.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load(path)


def changed(key, value):
    section, name = key.split(".")
    table = tomllib.loads(SIMULATE)
    table[section][name] = value
    return table


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\xff", r"run.toml is not UTF-8 text in line 1; save it as UTF-8"),
        (b"a = 1\nb = '\xe9'", "not UTF-8 text in line 2"),
        ("x = " + "[" * 5000 + "]" * 5000, "run.toml is not a run file: its lists are too"),
        ("x = 1" + "0" * 5000, "run.toml is not valid TOML: Exceeds the limit"),
        ('x = "\\ud83d"', "run.toml is not valid TOML"),
        (b"x" * (1 << 25), "more than any run file"),
        (b"\0", "not valid TOML"),
    ],
)
@pytest.mark.parametrize(
    "load", [runfile.load, barrierfile.load, trainfile.read_train_file]
)
def test_what_is_no_toml_is_a_sentence(tmp_path, content, match, load):
    with pytest.raises(ValueError, match=match) as caught:
        loaded(tmp_path, content, load)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("production.duration_ps", 1e308),
        ("output.chunk_ps", 1e308),
        ("output.chunk_ps", 1e9),
        ("output.positions_every_ps", 1e300),
        ("hops.dwell_strides", 10**400),
        ("hops.stride_fs", 5e-324),
        ("production.duration_ps", 5e-324),
        ("output.positions_every_ps", 1e-300),
        ("system.supercell", 200),
        ("system.supercell", 10**30),
        ("system.supercell", [2, 2, 10**9]),
        ("system.interstitials", 10**9),
        ("system.vacancies", 10**30),
        ("system.frenkel_pairs", 10**9),
        ("ensemble.replicas_per_temperature", 10**9),
        ("ensemble.seed", 10**30),
        ("ensemble.max_temperature_kelvin", 1e308),
        ("output.directory", "a\0b"),
        ("output.directory", "x" * 5000),
        ("model.name_or_path", "a/" + "y" * 300),
        ("system.structure_files", ["a\0b"]),
    ],
)
def test_a_value_beyond_bounds_names_its_key(key, value):
    with pytest.raises(runfile.RunFileError) as caught:
        runfile.parse(changed(key, value))
    assert key in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "change",
    [
        ("system.supercell", 90),
        ("ensemble.replicas_per_temperature", 10**6),
        ("hops.crossings_per_chunk", 10_000),
    ],
)
def test_memory_is_estimated_before_it_is_taken(monkeypatch, change):
    monkeypatch.setattr(memory, "host_bytes", lambda: 16 * 10**9)
    table = changed(*change)
    table["system"]["supercell"] = max(table["system"]["supercell"], 20)
    with pytest.raises(ValueError, match=r"need [0-9.e+]+ GB or more; this machine has 16"):
        start.systems(runfile.parse(table))
    start.systems(runfile.parse(tomllib.loads(SIMULATE)))


NAMES = ["\U0001f600", "\x7f", "a\nb", "a\tb\x1b[2J", 'q"\\', "[/red]", "日本", "é" * 40]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_any_characters_survives_a_resume(tmp_path, name):
    run = runfile.parse(changed("output.directory", f"runs/{name}"))
    again = loaded(tmp_path, runfile.to_toml(run))
    assert again == run


def test_faults_are_told_without_what_a_terminal_would_obey():
    table = changed("output.directory", "x") | {"\x1b[2J" + "k" * 1000: 1}
    table["ensemble"]["seed"] = ["\x1b]0;owned\x07"] * 10_000
    with pytest.raises(runfile.RunFileError) as caught:
        runfile.parse(table)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 700


VALUES = [
    "1" + "0" * 400, "-1", "0", "9223372036854775808", "1e308", "-1e308", "5e-324", "nan",
    "inf", "true", '""', '"\\u0000"', "[]", "[[]]", "{}", "{a=1}", "1979-05-27", "0xdead",
    "[" * 200 + "]" * 200, "'[/red]'", "[500, 500]", "[" + "600," * 10_000 + "]", "{",
]  # fmt: skip

KINDS = {
    "simulate/lif_demo.toml": runfile.load,
    "simulate/lif_barriers.toml": barrierfile.load,
    "training/lif_naive.toml": trainfile.read_train_file,
    "training/barrier_target.toml": trainfile.read_train_file,
    "simulate/active/label.toml": labelfile.load,
    "simulate/active/loop.toml": loopfile.load,
}


def mutated(rng, text):
    """A run file with one thing wrong, or several."""
    lines = text.splitlines()
    leaves = [n for n, line in enumerate(lines) if "=" in line and line[0] != "#"]
    n = rng.choice(leaves)
    match rng.choice(["value"] * 4 + ["bytes", "twice", "section", "less", "key", "cut"]):
        case "value":
            lines[n] = f"{lines[n].split('=')[0]}= {rng.choice(VALUES)}"
        case "bytes":
            content = bytearray(text.encode())
            for _ in range(rng.choice([1, 2, 8])):
                content[rng.randrange(len(content))] = rng.randrange(256)
            return bytes(content)
        case "twice":
            lines.insert(n, lines[n])
        case "section":
            lines += [
                rng.choice(["[a.b.c]", "[model]", "[[output]]", "output = 5", "['']"])
            ]
        case "less":
            del lines[n]
        case "key":
            lines[n] = rng.choice(['"" = 1', "'a.b' = 1", "x.y.z = 1", f"{'a' * 9999} = 1"])
        case "cut":
            return text.encode()[: rng.randrange(len(text))]
    return "\n".join(lines).encode()


def outcome(path, load):
    """The run, or the sentence; anything else that is raised fails the test."""
    try:
        return load(path)
    except (runfile.RunFileError, FileNotFoundError) as error:
        return str(error)
    except ValueError as error:
        return str(error) if type(error) is ValueError else pytest.fail(repr(error))


@pytest.mark.parametrize("n", [200, pytest.param(5000, marks=pytest.mark.long)])
def test_mutated_run_files_are_right_or_a_sentence(tmp_path, n):
    rng, right = random.Random(0), 0
    for _ in range(n):
        name, path = rng.choice(list(KINDS)), tmp_path / "run.toml"
        path.write_bytes(mutated(rng, (ROOT / name).read_text(encoding="utf-8")))
        run = outcome(path, KINDS[name])
        if isinstance(run, str):
            assert 0 < len(run) < 4000
            continue
        right += 1
        if isinstance(run, runfile.RunFile):
            assert runfile.parse(tomllib.loads(runfile.to_toml(run))) == run
            assert math.isfinite(run.steps(run.production.duration_ps))
            assert run.frames_per_chunk < 2**63
    counts = {"right": right, "refused": n - right}
    print(f"\nrun files: {n} files, {counts}", file=sys.stderr)
    assert n / 50 < right < n / 2
