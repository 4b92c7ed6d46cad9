"""The tables and the figure of docs/performance.md, and docs/deepmd.md's, from the records.

python benchmarks/write_tables.py [--document FILE.md]

Of each case the latest record counts. A table stands between `<!-- table NAME -->` and
`<!-- end -->`; what is between them is written anew.
"""

import json
import re
import statistics
from pathlib import Path
from typing import Annotated

import typer

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "performance.md"
MODELS = {"embedded": "embedded model", "mpa": "MACE-MPA-0's architecture"}


def records(name: str) -> list[dict]:
    """All of a file, oldest first."""
    text = (HERE / "results" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rounded(value: float) -> str:
    """To about three digits, without an exponent."""
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def evaluators() -> str:
    """Seconds of an evaluation by engine, atoms and precision."""
    latest = {(r["dtype"], r["atoms"], r["engine"]): r for r in records("evaluators")}
    rows, not_run = [], set()
    for (dtype, atoms, engine), record in sorted(
        latest.items(), key=lambda item: item[0][:2]
    ):
        if "not_run" in record:
            not_run.add(f"Not run, {engine}: {record['not_run']}.")
            continue
        theirs = latest[dtype, atoms, "mace-torch"]
        one = statistics.median(record["one_s"])
        each = record.get("per_evaluation_of_all_cores_s")
        best = min(one, statistics.median(each)) if each else one
        ratio = "–"
        if "one_s" in theirs:
            ratio = f"{statistics.median(theirs['one_s']) / best:.1f}"
        shared = f"{statistics.median(each):.3g}" if each else "–"
        difference = f"{record['largest_difference_of_forces']:.1e}"
        memory = f"{record['peak_gib']:.2g}"
        rows.append(
            [str(atoms), dtype, engine, f"{one:.3g}", shared, ratio, memory, difference]
        )
    head = ["atoms", "", "engine", "one, s", "two, s", "times mace-torch"]
    cases = table([*head, "GiB", "forces differ, eV/Å"], rows)
    return "\n\n".join([cases, *sorted(not_run)])


def evaluators_mh1() -> str:
    """The same of MACE-MH-1 on one core, by processor time."""
    latest = {(r["atoms"], r["engine"]): r for r in records("evaluators_mh1")}
    rows = []
    for (atoms, engine), record in sorted(latest.items(), key=lambda item: item[0][0]):
        own = min(record["processor_s"])
        theirs = latest.get((atoms, "mace-torch"))
        ratio = f"{min(theirs['processor_s']) / own:.1f}" if theirs else "–"
        rows.append(
            [
                str(atoms),
                engine,
                f"{own:.3g}",
                f"{min(record['one_s']):.3g}",
                f"{1e3 * own / atoms:.2f}",
                ratio,
                f"{record['peak_gib']:.2g}",
                f"{record['largest_difference_of_forces']:.1e}",
            ]
        )
    head = ["atoms", "engine", "processor, s", "clock, s", "ms/atom", "times mace-torch"]
    return table([*head, "GiB", "forces differ, eV/Å"], rows)


def ensembles() -> str:
    """Steps of ensembles, and of peers."""
    rows = []
    for record in {r["model"]: r for r in records("ensembles")}.values():
        for row in record["rows"]:
            first = [MODELS[record["model"]], row.get("engine", "jaxdiff")]
            if "not_run" in row:
                rows.append([*first, "", str(row["replicas"]), row["not_run"], *[""] * 3])
                continue
            rows.append(
                [
                    *first,
                    str(row["atoms"]),
                    str(row["replicas"]),
                    rounded(row["us_per_atom_and_step"]),
                    f"{row['ns_per_day']:.3g}",
                    f"{row['first_chunk_s']:.0f}" if "first_chunk_s" in row else "–",
                    f"{row['peak_gib']:.2g}",
                ]
            )
    head = ["model", "engine", "atoms", "replicas", "µs/atom/step"]
    return table([*head, "ns/day in all", "first chunk, s", "GiB"], rows)


def lammps_engines() -> str:
    """Steps of LAMMPS."""
    latest = {(r["model"], r["atoms"]): r for r in records("lammps_engines")}
    rows = []
    for record in latest.values():
        for engine, row in record["rows"].items():
            time = row.get("not_run") or rounded(row["us_per_atom_and_step"])
            rows.append([str(record["atoms"]), engine, time])
    return table(["atoms", "engine", "µs/atom/step"], rows)


def evaluator_parts(name: str = "evaluator_parts") -> str:
    """What the time of the compiled evaluator goes into."""
    *_, latest = records(name)
    whole = latest["ms"]["everything"]
    rows = [
        [part, rounded(ms), f"{100 * ms / whole:.0f} %"]
        for part, ms in latest["ms"].items()
    ]
    return table(["part", "ms", "of everything"], rows)


def evaluator_parts_mh1() -> str:
    """The same of MACE-MH-1."""
    return evaluator_parts("evaluator_parts_mh1")


def deepmd_kit() -> str:
    """Steps of DeepPot-SE by engine, those of the latest run alone."""
    latest = {(r["atoms"], r["dtype"], r["engine"]): r for r in records("deepmd_kit")}
    rows = [
        [
            str(atoms),
            dtype,
            engine,
            rounded(record["us_per_atom_and_step"]),
            f"{record['largest_difference_of_forces']:.1e}",
        ]
        for (atoms, dtype, engine), record in sorted(
            latest.items(), key=lambda item: item[0][:2]
        )
    ]
    return table(["atoms", "", "engine", "µs/atom/step", "forces differ, eV/Å"], rows)


def deepmd_errors() -> str:
    """Errors of the DeepPot-SE model that was trained here: errors.json of the run."""
    text = (HERE / "results" / "deepmd_lif_errors.json").read_text(encoding="utf-8")
    rows = [
        [
            row["name"],
            str(row["frames"]),
            *(f"{row[f'{of}_rmse']:.2f}" for of in ("energy", "forces", "stress")),
        ]
        for row in json.loads(text)["after"]
    ]
    head = ["set", "frames", "energy, meV/atom", "forces, meV/Å", "stress, meV/Å³"]
    return table(head, rows)


def figure(path: Path) -> None:
    """Throughput against replicas, and time against the size of the cell."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for color, record in zip(
        ("C0", "C1"), {r["model"]: r for r in records("ensembles")}.values(), strict=False
    ):
        ours = [row for row in record["rows"] if row.get("engine", "jaxdiff") == "jaxdiff"]
        label = MODELS[record["model"]]
        for atoms, line in ((217, "o-"), (1001, "o:")):
            same = sorted(
                (r["replicas"], r["ns_per_day"]) for r in ours if r["atoms"] == atoms
            )
            left.loglog(
                *zip(*same, strict=True), line, color=color, label=f"{label}, {atoms}"
            )
        two = sorted(
            (r["atoms"], r["us_per_atom_and_step"]) for r in ours if r["replicas"] == 2
        )
        right.loglog(*zip(*two, strict=True), "o-", color=color, label=label)
        for row in record["rows"]:
            if row.get("engine", "jaxdiff") != "jaxdiff" and "ns_per_day" in row:
                marker = "s" if "ASE" in row["engine"] else "^"
                left.loglog(
                    row["replicas"], row["ns_per_day"], marker, color=color, mfc="none"
                )
    left.plot([], [], "s", color="gray", mfc="none", label="ASE + mace-torch")
    left.plot([], [], "^", color="gray", mfc="none", label="torch-sim + mace-torch")
    left.set(xlabel="replicas of 217 or 1001 atoms", ylabel="ns/day in all (1 fs steps)")
    left.legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1, 0.3))
    left.set_xticks([1, 4, 16, 64, 256], ["1", "4", "16", "64", "256"], minor=False)
    left.set_xticks([], minor=True)
    right.set(xlabel="atoms of a replica, two replicas", ylabel="µs/atom/step")
    right.set_ylim(50, 1000)
    right.set_yticks([50, 100, 200, 500, 1000], ["50", "100", "200", "500", "1000"])
    right.set_yticks([], minor=True)
    right.set_xticks([65, 217, 513, 1729, 4097], ["65", "217", "513", "1729", "4097"])
    right.set_xticks([], minor=True)
    right.legend(frameon=False, fontsize=8)
    fig.savefig(path, dpi=150)


TABLES = {
    make.__name__: make
    for make in (
        *(evaluators, evaluators_mh1, ensembles, lammps_engines, evaluator_parts),
        *(evaluator_parts_mh1, deepmd_kit, deepmd_errors),
    )
}


def main(
    document: Annotated[
        Path,
        typer.Option(
            help="What has the tables; the figure goes to figures/ beside it.",
            show_default="docs/performance.md",
        ),
    ] = DOCUMENT,
) -> None:
    """Write the tables of the records into the document, and the figure beside it."""
    text = document.read_text(encoding="utf-8")
    names = re.findall(r"<!-- table (\w+) -->", text)
    if not names or any(name not in TABLES or names.count(name) > 1 for name in names):
        raise SystemExit(
            f"{document} has places for the tables {', '.join(names) or '(none)'}; each "
            f"must be one of {', '.join(TABLES)}, once."
        )
    for name in names:
        pattern = rf"(<!-- table {name} -->\n).*?(<!-- end -->)"
        text = re.sub(
            pattern,
            lambda found, name=name: f"{found[1]}{TABLES[name]()}\n{found[2]}",
            text,
            flags=re.S,
        )
    document.write_text(text, encoding="utf-8")
    if "ensembles" in names:
        figure(document.parent / "figures" / "ensembles.png")


if __name__ == "__main__":
    typer.run(main)
