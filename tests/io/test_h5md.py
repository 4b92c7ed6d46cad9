"""H5MD files written by the specification, and by MDAnalysis, come back as they are."""

import ase
import ase.io
import h5py
import numpy as np
import pytest
from written_by_hand import ORTHOGONAL, TRICLINIC, assert_same, read, walk

import jaxdiff.io.h5md as h5md_module
from jaxdiff.io.export import write_trajectory
from jaxdiff.io.trajectory import Frames, open_trajectory

LITHIUM_FLUORIDE = {1: "Li", 2: "F"}


def write_h5md(path, known, position, *, edges, image=None, order=None, units=(1, 1)):
    """By the specification (https://www.nongnu.org/h5md/h5md.html); units in Å and ps."""
    names = {0.1: "nm", 1: "Angstrom"}[units[0]], {1e3: "fs", 1: "ps"}[units[1]]
    with h5py.File(path, "w") as file:
        group = file.create_group("particles/ions")
        group.create_group("box").attrs["boundary"] = [b"periodic"] * 3
        group["position/step"] = np.arange(len(position)) * 50
        group["position/time"] = known.time_ps * units[1]
        group["position/time"].attrs["unit"] = names[1]
        group["position/value"] = position * units[0]
        group["position/value"].attrs["unit"] = names[0]
        if edges.ndim == 3 or (edges.ndim == 2 and edges.shape != (3, 3)):
            group["box/edges/value"] = edges * units[0]
        else:
            group["box/edges"] = edges * units[0]
        if image is not None:
            group["image/value"] = image
        kinds = np.where(known.number == 3, 1, 2)
        if order is None:
            group["species"] = kinds
        else:
            group["id/value"] = order
            group["species/value"] = kinds[order]


@pytest.mark.parametrize("imaged", [False, True])
@pytest.mark.parametrize("units", [(1, 1), (0.1, 1e3)])
@pytest.mark.parametrize("edges", ["vector", "vectors", "matrix", "matrices"])
def test_h5md(tmp_path, edges, units, imaged):
    breathing = 0.01 if edges in ("vectors", "matrices") else 0.0
    known = walk(ORTHOGONAL if "vector" in edges else TRICLINIC, breathing=breathing)
    box = {
        "vector": np.diag(known.cell[0]),
        "vectors": np.diagonal(known.cell, axis1=1, axis2=2),
        "matrix": known.cell[0],
        "matrices": known.cell,
    }[edges]
    image = known.image.astype(int) if imaged else None
    path = tmp_path / "a.h5"
    write_h5md(path, known, known.wrapped, edges=box, image=image, units=units)
    trajectory = assert_same(path, known, 1e-12, species=LITHIUM_FLUORIDE)
    assert trajectory.unwrapping == (
        "position with image" if imaged else "minimum image between frames"
    )


def test_h5md_in_several_slices(tmp_path, monkeypatch):
    """Seven frames a slice, of 40; steps, cells, images and atoms go with their frames."""
    monkeypatch.setattr(h5md_module, "_SLICE_BYTES", 7 * 12 * 24)
    known = walk(TRICLINIC, breathing=0.01)
    image = known.image.astype(int)
    path = tmp_path / "a.h5"
    write_h5md(path, known, known.wrapped, edges=known.cell, image=image)
    assert_same(path, known, 1e-12, species=LITHIUM_FLUORIDE)
    assert_same(path, known, 1e-12, species=LITHIUM_FLUORIDE, timestep_fs=2.0)


def test_h5md_images_count_only_along_periodic_directions(tmp_path):
    known = walk(ORTHOGONAL, n_frames=3)
    path = tmp_path / "a.h5"
    image = known.image.astype(int) + 1
    write_h5md(path, known, known.wrapped, edges=ORTHOGONAL, image=image)
    with h5py.File(path, "a") as file:
        boundary = [b"none", b"periodic", b"none"]
        file["particles/ions/box"].attrs["boundary"] = boundary
    trajectory, position, _, _ = read(path, species=LITHIUM_FLUORIDE)
    assert trajectory.periodic == (False, True, False)
    expected = known.wrapped + image * [0, 1, 0] @ ORTHOGONAL
    np.testing.assert_allclose(position, expected, rtol=0, atol=1e-12)


def test_h5md_with_atoms_in_changing_order(tmp_path):
    known = walk(n_frames=9)
    rng = np.random.default_rng(2)
    order = np.array([rng.permutation(12) for _ in range(9)])
    position = np.take_along_axis(known.wrapped, order[:, :, None], axis=1)
    path = tmp_path / "a.h5"
    write_h5md(path, known, position, edges=TRICLINIC, order=order)
    assert_same(path, known, 1e-12, species=LITHIUM_FLUORIDE)


def test_h5md_with_steps_and_names_of_species(tmp_path):
    known = walk(n_frames=9)
    path = tmp_path / "a.h5"
    write_h5md(path, known, known.wrapped, edges=TRICLINIC)
    with h5py.File(path, "a") as file:
        del file["particles/ions/position/time"], file["particles/ions/species"]
        kind = h5py.enum_dtype({"Li": 0, "F": 7}, basetype="i1")
        species = np.where(known.number == 3, 0, 7)
        file["particles/ions"].create_dataset("species", data=species, dtype=kind)
    assert_same(path, known, 1e-12, timestep_fs=2.0)
    with h5py.File(path, "a") as file:  # a fixed increment, as the specification allows
        del file["particles/ions/position/step"]
        file["particles/ions/position/step"] = 25
        file["particles/ions/position/step"].attrs["offset"] = 1000
    assert_same(path, known, 1e-12, timestep_fs=4.0)


def test_h5md_of_mdanalysis(tmp_path):
    """Float32 positions: 1e-6 Å at 30 Å."""
    mda = pytest.importorskip("MDAnalysis")
    known = walk(TRICLINIC)
    universe = mda.Universe.empty(12, trajectory=True)
    units = {"lengthunit": "Angstrom", "timeunit": "ps"}
    path = tmp_path / "a.h5md"
    with mda.Writer(str(path), n_atoms=12, **units) as writer:
        for x, time in zip(known.position, known.time_ps, strict=True):
            universe.trajectory.ts.time = time
            universe.trajectory.ts.dimensions = mda.lib.mdamath.triclinic_box(*TRICLINIC)
            universe.atoms.positions = x
            writer.write(universe.atoms)
    start = tmp_path / "start.extxyz"  # MDAnalysis writes no species
    ase.io.write(start, ase.Atoms(known.number, known.position[0], cell=TRICLINIC))
    assert_same(path, known, 1e-5, topology=start)
    with pytest.raises(ValueError, match="has no species, .* by --topology"):
        open_trajectory(path)
    with h5py.File(path, "a") as file:
        file["particles/trajectory/species"] = np.where(known.number == 3, 1, 2)
    assert_same(path, known, 1e-5, species=LITHIUM_FLUORIDE)


def lammps_h5md(path, creator=None, scale=1.0):
    """As LAMMPS writes it: no units, species and their step once, lengths in Å."""
    known = walk(ORTHOGONAL, n_frames=9)
    edges = np.diagonal(known.cell, axis1=1, axis2=2)
    image = known.image.astype(int)
    write_h5md(path, known, scale * known.wrapped, edges=scale * edges, image=image)
    with h5py.File(path, "a") as file:
        group = file["particles/ions"]
        for name in ("position/value", "position/time"):
            del group[name].attrs["unit"]
        del group["species"]
        group["species/value"] = np.where(known.number == 3, 1, 2)[None]
        group["species/step"], group["species/time"] = [0], [0.0]
        if creator is not None:
            file.create_group("h5md/creator").attrs["name"] = creator
    return known


@pytest.mark.parametrize("unit", ["angstrom", "nm"])
def test_h5md_without_units(tmp_path, unit):
    path = tmp_path / "a.h5"
    known = lammps_h5md(path, scale={"angstrom": 1.0, "nm": 0.1}[unit])
    given = {"species": LITHIUM_FLUORIDE, "timestep_fs": 2.0}
    assert_same(path, known, 1e-12, **given, length_unit=unit)
    with pytest.raises(ValueError, match="--length-unit angstrom or --length-unit nm"):
        open_trajectory(path, **given)
    with pytest.raises(ValueError, match="--length-unit bohr is not one of angstrom, nm"):
        open_trajectory(path, **given, length_unit="bohr")
    with pytest.raises(ValueError, match="--timestep-fs, .* 0.1 if it is ps"):
        open_trajectory(path, species=LITHIUM_FLUORIDE, length_unit=unit)
    with pytest.raises(ValueError, match=r"types \(1, 2\) .* --species 1=Li --species 2=F"):
        open_trajectory(path, timestep_fs=2.0, length_unit=unit)


def test_h5md_of_lammps(tmp_path):
    """Where it says that LAMMPS wrote it, lengths are Å."""
    path = tmp_path / "a.h5"
    known = lammps_h5md(path, "LAMMPS")
    given = {"species": LITHIUM_FLUORIDE, "timestep_fs": 2.0}
    assert_same(path, known, 1e-12, **given)


def test_h5md_with_a_unit_that_is_not_the_one_said(tmp_path):
    known = walk(TRICLINIC, n_frames=3)
    path = tmp_path / "a.h5"
    write_h5md(path, known, known.wrapped, edges=TRICLINIC)
    given = {"species": LITHIUM_FLUORIDE}
    assert_same(path, known, 1e-12, **given, length_unit="angstrom")
    with pytest.raises(ValueError, match="another unit; leave --length-unit out"):
        open_trajectory(path, **given, length_unit="nm")


def test_h5md_without_a_box(tmp_path):
    known = walk(TRICLINIC, n_frames=9)
    path = tmp_path / "a.h5"
    write_h5md(path, known, known.wrapped, edges=TRICLINIC)
    with h5py.File(path, "a") as file:
        del file["particles/ions/box/edges"]
    assert_same(path, known, 1e-12, species=LITHIUM_FLUORIDE, cell=TRICLINIC)


@pytest.fixture
def h5md(tmp_path):
    path = tmp_path / "a.h5"
    known = walk(TRICLINIC, n_frames=5)
    chunk = Frames(known.position, known.cell, known.time_ps)
    write_trajectory(path, [chunk], atomic_number=known.number)
    return path


def _set(name, value):
    def edit(group):
        del group[name]
        group[name] = value

    return edit


def _drop_units(group):
    del group["position/value"].attrs["unit"]


def _wrong_unit(group):
    group["position/value"].attrs["unit"] = "bohr"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda g: g.__delitem__("box/edges"), "no box/edges"),
        (lambda g: g.__delitem__("species"), "has no species"),
        (lambda g: g.__delitem__("position"), "has no position"),
        (lambda g: g.__delitem__("position/value"), "position has no value"),
        (lambda g: g.file.__delitem__("particles"), "it has none"),
        (_set("species", np.ones(12, int)), "without names"),
        (_set("position/time", np.arange(3.0)), "have 3 to 5 frames"),
        (_set("position/value", np.ones((5, 12, 2))), "has no position"),
        (_set("box/edges/value", np.ones((5, 2))), "it should be 3 or 3 x 3"),
        (_drop_units, "no unit attribute"),
        (_wrong_unit, "is in 'bohr'"),
        (
            lambda g: g["position/value"].__setitem__((2, 3, 1), np.nan),
            "frame 2: .* atom 3",
        ),
        (lambda g: g["position/time"].__setitem__(3, 9.0), "frames 2 and 3"),
    ],
)
def test_h5md_files(h5md, edit, message):
    with h5py.File(h5md, "a") as file:
        edit(file["particles/all"])
    with pytest.raises(ValueError, match=message):
        read(h5md)


def test_h5md_with_a_frame_half_written(h5md):
    with h5py.File(h5md, "a") as file:
        file["particles/all/position/step"].resize(4, axis=0)
    trajectory, position, _, _ = read(h5md)
    assert len(position) == 4
    assert trajectory.note == "1 frames were cut short and left out"


def test_h5md_without_boundaries_that_is_wrapped(tmp_path):
    known = walk(ORTHOGONAL)
    path = tmp_path / "a.h5"
    write_h5md(path, known, known.wrapped, edges=ORTHOGONAL)
    with h5py.File(path, "a") as file:
        file["particles/ions/box"].attrs["boundary"] = [b"none"] * 3
    with pytest.raises(ValueError, match="jump by a lattice vector along .* not periodic"):
        read(path, species=LITHIUM_FLUORIDE)
