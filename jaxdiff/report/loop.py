"""The table of a loop: one line a round, and what was chosen in it and why."""

from collections.abc import Mapping, Sequence
from typing import Any

_NONE = "–"


def markdown(content: Mapping[str, Any]) -> str:
    """The content of rounds.json as tables in Markdown."""
    rounds = content["rounds"]
    head = (
        "round", "trained on", "deviation: median", "nine of ten", "largest", "labelled",
        "failed", "energy, new", "forces, new", *_held_out(rounds),
    )  # fmt: skip
    lines = [
        "# Rounds",
        "",
        "Deviations in eV/Å, of the committee of the round before on the frames sampled in "
        "this one; errors are root mean squares of the first model, meV/atom and meV/Å: "
        "on the new labels before it saw them, and on held-out frames after training.",
        "",
        *_table(head, [_line(one, _held_out(rounds)) for one in rounds]),
    ]
    for one in rounds:
        lines += _chosen(one)
    ended = content["ended"]
    lines += ["", f"Ended: {ended}." if ended else "Not at its end yet.", ""]
    lines += ["Models of the last training:", *(f"- {path}" for path in content["models"])]
    return "\n".join(lines) + "\n"


def _held_out(rounds: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Columns of the held-out sets as a whole, which every training has."""
    names = [row["name"] for row in rounds[0]["train"]["errors"] if "/" not in row["name"]]
    return tuple(f"{kind}, {name}" for name in names for kind in ("energy", "forces"))


def _line(one: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    train, select, label = one.get("train"), one.get("select"), one.get("label")
    cells = [str(one["round"]), str(train["frames"]) if train else _NONE]
    for key in ("median", "nine_of_ten", "largest"):
        values = [kind[key] for kind in select["deviation"].values()] if select else []
        cells.append(_number(max(values, default=None), 3))
    cells.append(str(label["labelled"]) if label else _NONE)
    cells.append(str(len(label["failed"])) if label else _NONE)
    errors = label["errors"] if label else {}
    cells += [_number(errors.get(f"{kind}_rmse"), 4) for kind in ("energy", "forces")]
    found = {
        f"{kind}, {row['name']}": row[f"{kind}_rmse"]
        for row in (train["errors"] if train else ())
        for kind in ("energy", "forces")
    }
    return [*cells, *(_number(found.get(name), 4) for name in columns)]


def _chosen(one: Mapping[str, Any]) -> list[str]:
    """What was chosen, why, and what could not be labelled."""
    if "select" not in one:
        return []
    rows = [
        [
            name,
            why["source"],
            _number(why["deviation_ev_per_angstrom"], 3),
            f"{why['rank_by_deviation']} of {why['of']}",
            _number(why["distance"], 3),
        ]
        for name, chosen in one["select"]["chosen"].items()
        for why in chosen
    ]
    head = (
        "kind", "frame", "deviation, eV/Å", "rank by deviation", "distance from all before",
    )  # fmt: skip
    lines = ["", f"## Chosen in round {one['round']}", "", *_table(head, rows)]
    if "label" not in one:
        lines += ["", "Not labelled: the loop ended."]
    for source, reason in one.get("label", {}).get("failed", {}).items():
        lines += ["", f"Without a label: {source}: {reason}."]
    for name, reasons in one["sample"]["diverged"].items():
        lines += [
            line for reason in reasons for line in ("", f"{name}, diverged: {reason}.")
        ]
    return lines


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(c.replace('|', '/') for c in row)} |" for row in cells]


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}g}"
