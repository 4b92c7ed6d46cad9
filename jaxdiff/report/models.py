"""Models side by side as a table: Markdown, CSV, and rows for the terminal."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdiff.io import durable
from jaxdiff.report.document import Block, Document, Heading, Table, Text

_COLUMNS = (
    ("lattice", "lattice_constant_angstrom", "lattice constant (Å)", ".4f"),
    *(("lattice", f"{x}_angstrom", f"{x} (Å)", ".4f") for x in "abc"),
    *(("lattice", f"{x}_degrees", f"{x} (°)", ".2f") for x in ("alpha", "beta", "gamma")),
    ("lattice", "volume_angstrom3_per_atom", "volume (Å³/atom)", ".3f"),
    ("bulk modulus", "bulk_modulus_gpa", "bulk modulus (GPa)", ".1f"),
    ("phonons", "highest_phonon_at_gamma_thz", "highest phonon at Γ (THz)", ".2f"),
    ("phonons", "highest_phonon_thz", "highest phonon (THz)", ".2f"),
    ("phonons", "imaginary_modes", "imaginary modes", "d"),
    ("barrier", "barrier_ev", "barrier, collinear (eV)", ".3f"),
    ("defects", "frenkel_ev", "Frenkel pair, far apart (eV)", ".2f"),
    ("defects", "schottky_ev", "Schottky pair, far apart (eV)", ".2f"),
    ("cost", "microseconds_per_atom", "cost (µs per atom and evaluation)", ".3g"),
    ("cost", "processor_microseconds_per_atom", "the same, all cores together", ".3g"),
)
"""Quantity, key, title, format."""


def rows(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A header with the models, and a row for each number that any of them has."""
    models, labels = content["models"], _labels(content)
    found = []
    for quantity, key, title, spec in _COLUMNS:
        entries = [models.get(label, {}).get(quantity, {}) for label in labels]
        if any(key in entry for entry in entries):
            found.append([title, *(_cell(entry.get(key), spec) for entry in entries)])
    return ["", *_short(labels)], found


def _labels(content: Mapping[str, Any]) -> list[str]:
    """Of all models, those that could not be asked last."""
    return list(dict.fromkeys((*content["models"], *content["failed"])))


def _short(labels: Sequence[str]) -> list[str]:
    """Labels without the folders of files, where that tells them apart."""
    names = [label.rpartition("/")[2] for label in labels]
    return names if len(set(names)) == len(names) else list(labels)


def spoken(quantity: str, entry: Mapping[str, Any]) -> str:
    """What was found of a quantity, or why nothing was."""
    if "failed" in entry:
        return f"no {quantity}: {entry['failed']}"
    return ", ".join(
        f"{title} {_cell(entry[key], spec)}"
        for _, key, title, spec in _COLUMNS
        if key in entry
    )


def _cell(value: float | None, spec: str) -> str:
    return "–" if value is None else f"{value:{spec}}"


def sentences(content: Mapping[str, Any]) -> list[str]:
    """Why a number is not there, and which crystals are unstable."""
    found = [f"{label}: {reason}" for label, reason in content["failed"].items()]
    for label, entry in content["models"].items():
        for quantity, value in entry.items():
            if "failed" in value:
                found.append(f"{label}: {spoken(quantity, value)}")
            if words := value.get("instability"):
                found.append(f"{label}: imaginary modes: {words}.")
    return found


def conditions(content: Mapping[str, Any]) -> str:
    """The crystal and its supercell in words."""
    given = content["conditions"]
    cells = "x".join(map(str, given["supercell"]))
    if given["crystal"] == "LiF":
        return f"LiF, phonons and defects in {cells} conventional cells"
    return f"crystal of SHA-256 {given['crystal'][:12]}…, phonons in {cells} of its cells"


def write_models(content: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write models.csv and models.md."""
    header, body = rows(content)
    costs = [m["cost"] for m in content["models"].values() if "cost" in m]
    timed = sorted({f"{c['precision']}, {c['atoms']} atoms" for c in costs if "atoms" in c})
    blocks: list[Block] = [
        Text(f"{conditions(content)}; at rest, 0 K."),
        Table(header, body),
        *(Text(sentence) for sentence in sentences(content)),
        Heading("How"),
        Text(_HOW),
        Text(f"Cost: {'; '.join(timed) or 'not measured'}, on {content['device']}."),
    ]
    paths = [folder / "models.csv", folder / "models.md"]
    durable.write_text(paths[0], _csv(content))
    durable.write_text(paths[1], Document("Models compared", blocks).markdown())
    return paths


def _csv(content: Mapping[str, Any]) -> str:
    """A row for each model."""
    text, known = io.StringIO(), content["models"]
    keys = [c for c in _COLUMNS if any(c[1] in m.get(c[0], {}) for m in known.values())]
    writer = csv.writer(text)
    writer.writerow(["model", "model_sha256", *(key for _, key, *_ in keys), "failed"])
    for label, entry in known.items():
        values = [entry.get(quantity, {}).get(key, "") for quantity, key, *_ in keys]
        reasons = [v["failed"] for v in entry.values() if "failed" in v]
        digest = entry["identity"]["model_sha256"]
        writer.writerow([label, digest, *values, " ".join(reasons)])
    for label, reason in content["failed"].items():
        if label not in known:
            writer.writerow([label, "", *("" for _ in keys), reason])
    return text.getvalue()


_HOW = (
    "Lattice: cell without stress. Bulk modulus: Birch and Murnaghan's equation through "
    "nine volumes, shape and positions relaxed at each. Phonons: harmonic, of the waves "
    "that fit into the supercell, without the splitting by long-range fields at Γ. "
    "Barrier: nudged elastic band and a saddle with one imaginary mode, at the model's own "
    "lattice constant. Frenkel: E(interstitial) + E(vacancy) - 2 E(perfect); Schottky: "
    "E(Li vacancy) + E(F vacancy) - 2 E(perfect) + E(LiF); each defect in a cell of its "
    "own, so that no other reference is needed, and neutral to models that take no charge. "
    "Cost: energy, forces and strain by the evaluator that runs would take, neighbours "
    "known."
)
