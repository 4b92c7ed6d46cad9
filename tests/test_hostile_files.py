"""Files that are damaged or made to harm: the right result, or one of our errors, soon.

Every format that is read has an honest file, what reading it gives, and the errors that are
its own. The same mutators go over all of them; formats whose files carry a digest give the
right result or an error, and no other result. Counts by outcome are printed (`-s`).
"""

import collections
import gzip
import io
import itertools
import json
import pickletools
import random
import resource
import signal
import struct
import sys
import zipfile
from pathlib import Path

import ase.io
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from quarters import sites

from jaxdiff.analysis import load_series
from jaxdiff.checkpoints import CheckpointError, load, save_native
from jaxdiff.io.series import SeriesWriter
from jaxdiff.io.trajectory import open_trajectory
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.runs import checkpoint

TINY = Path(__file__).parent / "data" / "tiny.model"
ONE_SIDED = Path(__file__).parent / "data/deepmd/one_sided.dp"
OLD_SERIES = Path(__file__).parent / "data" / "series-v2.h5.gz"
STATE = {"position": jnp.arange(12.0).reshape(2, 2, 3), "step": jnp.asarray(7)}
MOST_SECONDS, MOST_BYTES = 20, 2 << 30


def leaves(tree):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


def read_model(path):
    model = load(path)
    for leaf in jax.tree.leaves(model):
        assert leaf.dtype.kind == "f"
        assert np.isfinite(leaf).all()
    return repr(model.architecture), leaves(model)


def read_checkpoint(path):
    found = checkpoint.load(path.parent, STATE)
    return found.phase, found.n_parts, found.part_sha256, leaves(found.state)


def read_series(path):
    found = load_series(path)
    return found.status, found.temperature.tolist(), leaves(vars(found)["time_ps"])


def read_trajectory(path):
    given = {"timestep_fs": 2.0} if path.suffix == ".dump" else {}
    trajectory = open_trajectory(path, **given)
    position = np.concatenate([frames.position for frames in trajectory.chunks(3)])
    assert abs(position).max() <= 2e6
    return trajectory.note, position.tobytes()


def write_model(folder):
    (folder / "a.model").write_bytes(TINY.read_bytes())
    return folder / "a.model"


def write_dp(folder):
    (folder / "a.dp").write_bytes(ONE_SIDED.read_bytes())
    return folder / "a.dp"


def write_native(folder):
    save_native(folder / "a.safetensors", load(TINY), {"license": "MIT"})
    return folder / "a.safetensors"


def write_checkpoint(folder):
    state = checkpoint.Checkpoint("production", STATE, {}, 1, 1.5, "ab", ("0" * 64,))
    checkpoint.save(folder, state)
    return folder / checkpoint.LATEST


def cations():
    grid = itertools.product(range(0, 8, 2), repeat=3)
    return sites([*(s for s in grid if sum(s) // 2 % 2 == 0), (1, 1, 1)])


def write_series(folder):
    one = np.ones(1)
    series = SeriesWriter(
        folder,
        temperature=600 * one,
        seed_index=np.zeros(1, int),
        lattice_constant=4.0 * one,
        cell=8 * np.eye(3)[None],
        is_mobile=np.ones(33, bool),
        attributes={
            "run_file": "", "frame_ps": 0.02, "dwell_frames": 3, "n_mobile": 33,
            "core_radius_angstrom": 0.77, "n_anion": 32,
            "supercell": 8 * np.eye(3, dtype=int), "network": ROCK_SALT.to_json(),
            "mobile": "Li", "formula": "LiF",
        },
        provenance={"seed": 1},
    )  # fmt: skip
    series.start_sites(cations()[None])
    changes = {"replica": [0], "frame": [3], "cation": [32], "site": sites([(3, 3, 1)])}
    counts = {"frames": [9], "anion_displaced_frames": [0], "lost_frame": [-1]}
    tables = ({k: np.array(v) for k, v in t.items()} for t in (changes, counts))
    series.append_sites(*tables)
    series.finish("complete")
    return folder / "series.h5"


def write_old_series(folder):
    """Of format 2, before there were digests."""
    (folder / "series.h5").write_bytes(gzip.decompress(OLD_SERIES.read_bytes()))
    return folder / "series.h5"


def crystals():
    crystal, rng = bulk("LiF", "rocksalt", a=4.07, cubic=True), np.random.default_rng(0)
    for k in range(6):
        atoms = crystal.copy()
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.info["time_ps"] = 0.02 * k
        yield atoms


def write_dump(folder):
    text = []
    for k, atoms in enumerate(crystals()):
        text.append(f"ITEM: TIMESTEP\n{10 * k}\nITEM: NUMBER OF ATOMS\n{len(atoms)}\n")
        text.append("ITEM: BOX BOUNDS pp pp pp\n" + "0 4.07\n" * 3)
        text.append("ITEM: ATOMS id element xu yu zu\n")
        for n, (symbol, x) in enumerate(zip(atoms.symbols, atoms.positions, strict=True)):
            text.append(f"{n + 1} {symbol} {x[0]:.6f} {x[1]:.6f} {x[2]:.6f}\n")
    (folder / "a.dump").write_text("".join(text))
    return folder / "a.dump"


def write_xyz(folder):
    ase.io.write(folder / "a.extxyz", list(crystals()), format="extxyz")
    return folder / "a.extxyz"


def write_h5md(folder):
    frames = list(crystals())
    with h5py.File(folder / "a.h5", "w") as file:
        group = file.create_group("particles/all")
        group["position/value"] = np.array([atoms.positions for atoms in frames])
        group["position/step"] = 10 * np.arange(len(frames))
        group["position/time"] = 0.02 * np.arange(len(frames))
        group["position/value"].attrs["unit"] = "Angstrom"
        group["position/time"].attrs["unit"] = "ps"
        group["box/edges"] = 4.07 * np.ones(3)
        group["box"].attrs["boundary"] = ["periodic"] * 3
        kinds = h5py.enum_dtype({"Li": 3, "F": 9}, basetype="i")
        group.create_dataset("species", data=frames[0].numbers, dtype=kinds)
    return folder / "a.h5"


def flip(rng, content):
    for _ in range(rng.choice([1, 1, 2, 8])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def overwrite(rng, content):
    place = rng.randrange(len(content))
    content[place : place + 8] = struct.pack(
        "<q", rng.choice([0, -1, 2**62, 2**31, 1 << 40])
    )


def cut(rng, content):
    del content[rng.randrange(len(content)) :]


def hole(rng, content):
    first, last = sorted(rng.sample(range(len(content)), 2))
    del content[first:last]


def twice(rng, content):
    first, last = sorted(rng.sample(range(len(content)), 2))
    content[last:last] = content[first:last]


WORDS = [
    b"nan", b"inf", b"-1e308", b"1e17", b"0", b"-1", b"9" * 20, b"1" + b"0" * 400, b"",
    b"abc", b"1_0", b"\xff\xfe", b"\0", "١".encode(), b"[/red]", b"\x1b[2J", b"999999999",
]  # fmt: skip


def word(rng, content):
    words = bytes(content).split(b" ")
    words[rng.randrange(len(words))] = rng.choice(WORDS)
    content[:] = b" ".join(words)


def line(rng, content):
    lines = bytes(content).split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    content[:] = b"\n".join(lines[: rng.choice([len(lines), other + 1])])


ATOMS = [
    b"N", b"K\xff", b"M\xff\xff", b"J\xff\xff\xff\xff", b"\x8a\x01\xfb", b"]", b"}", b")",
    b"G\x7f\xf8" + bytes(6), b"X\x01\0\0\0a", b"\x88", b"0", b"2", b"1", b"(", b"R", b"b",
    b"\x81", b"Q", b"s", b"u", b"e", b"a", b"t", b"\x85", b"\x86", b"\x87",
    b"N" + b"2\x86" * 60, b")" + b"\x85" * 5000, b"]" * 2000,
]  # fmt: skip


def opcode(rng, content):
    """An instruction of the pickle in a `.model` less, twice, or another one."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    text = members[name]
    starts = [place for *_, place in pickletools.genops(text)] + [len(text)]
    parts = [text[a:b] for a, b in itertools.pairwise(starts)]
    for _ in range(rng.choice([1, 1, 2])):
        n = rng.randrange(len(parts))
        parts[n] = rng.choice([b"", 2 * parts[n], rng.choice(ATOMS), parts[n] + ATOMS[-3]])
    members[name] = b"".join(parts)
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    content[:] = memory.getvalue()


def header(rng, content):
    """Another entry in the header of a native file, of which the length is right."""
    length = int.from_bytes(content[:8], "little")
    text = json.loads(bytes(content[8 : 8 + length]))
    entry = text[rng.choice(list(text))]
    key = rng.choice(list(entry))
    entry[key] = rng.choice(["", "[]", "NaN", "F16", [2**62], [0, 8], None, "x" * 99, {}])
    new = json.dumps(text).encode()
    content[: 8 + length] = len(new).to_bytes(8, "little") + new


BYTES = (flip, flip, overwrite, cut, hole, twice)
TEXT = (word, word, line, flip, cut, hole, twice)
# written by, read by, our errors, mutators, other results that are no fault
FORMATS = {
    "model": (write_model, read_model, CheckpointError, (opcode, opcode, *BYTES), True),
    "dp": (write_dp, read_model, CheckpointError, BYTES, True),
    "native": (write_native, read_model, CheckpointError, (header, *BYTES), False),
    "checkpoint": (write_checkpoint, read_checkpoint, ValueError, BYTES, False),
    "series": (write_series, read_series, ValueError, BYTES, False),
    "series of old": (write_old_series, read_series, ValueError, BYTES, True),
    "dump": (write_dump, read_trajectory, ValueError, TEXT, True),
    "extxyz": (write_xyz, read_trajectory, ValueError, TEXT, True),
    "h5md": (write_h5md, read_trajectory, ValueError, BYTES, True),
}


@pytest.fixture
def clock():
    """Raises in whatever takes too long."""

    def late(*_):
        raise TimeoutError(f"more than {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    yield lambda: signal.alarm(MOST_SECONDS)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def outcome(path, read, errors, whole):
    try:
        return "right" if read(path) == whole else "other"
    except errors as error:
        return "raw" if type(error) in (TimeoutError, MemoryError) else "refused"


@pytest.mark.parametrize("n", [25, pytest.param(2500, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", FORMATS)
def test_right_or_an_error_of_ours(tmp_path, clock, name, n):
    write, read, errors, mutators, may_differ = FORMATS[name]
    (tmp_path / "whole").mkdir()
    original = write(tmp_path / "whole")
    whole, content = read(original), original.read_bytes()
    assert read(original) == whole
    rng, counts = random.Random(name), collections.Counter()
    path = tmp_path / original.name
    for _ in range(n):
        changed = bytearray(content)
        mutator = rng.choice(mutators)
        mutator(rng, changed)
        path.write_bytes(changed)
        clock()
        found = outcome(path, read, errors, whole)
        counts[found] += 1
        if found == "raw" or (found == "other" and not may_differ):
            kept = path.rename(path.with_name(f"fault-{path.name}"))
            pytest.fail(f"{found} after {mutator.__name__}: {kept}")
    print(f"\n{name}: {n} files, {dict(counts)}", file=sys.stderr)
    assert counts["refused"] > n / 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert peak < MOST_BYTES + 2**30  # of this process, with all it has imported
