"""The table of a loop, as a text."""

from jaxdiff.report.loop import markdown


def row(name, energy, forces):
    return {"name": name, "energy_rmse": energy, "forces_rmse": forces}


CHOSEN = {
    "source": "600 K, replica 3, 1.5 ps",
    "deviation_ev_per_angstrom": 0.31234,
    "rank_by_deviation": 3,
    "of": 40,
    "distance": 0.4567,
}


def content(*rounds, ended=None):
    return {"rounds": list(rounds), "ended": ended, "models": ["round-01/a", "round-01/b"]}


def first():
    errors = [row("valid", 12.34567, 123.456), row("valid/bulk", 1.0, 2.0)]
    return {"round": 0, "train": {"frames": 76, "errors": errors}}


def second():
    kinds = {
        "hot": {"median": 0.1, "nine_of_ten": 0.2, "largest": 0.7},
        "bulk": {"median": 0.05, "nine_of_ten": 0.3, "largest": 0.6},
    }
    return {
        "round": 1,
        "sample": {"diverged": {"hot": ["replica 2 was too hot"], "bulk": []}},
        "select": {"deviation": kinds, "chosen": {"hot": [CHOSEN], "bulk": []}},
        "label": {
            "labelled": 9,
            "failed": {"round 1, a frame": "not converged"},
            "errors": row("new", 45.678, None),
        },
        "train": {"frames": 85, "errors": [row("valid", 11.0, 99.0)]},
    }


def test_a_line_for_each_round_and_a_reason_for_each_frame():
    text = markdown(content(first(), second(), ended="2 rounds are done"))
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("| round"))
    assert head.endswith("| energy, valid | forces, valid |")
    assert "| 0 | 76 | – | – | – | – | – | – | – | 12.35 | 123.5 |" in lines
    # of the deviations the larger one of both kinds
    assert "| 1 | 85 | 0.1 | 0.3 | 0.7 | 9 | 1 | 45.68 | – | 11 | 99 |" in lines
    assert "| hot | 600 K, replica 3, 1.5 ps | 0.312 | 3 of 40 | 0.457 |" in lines
    assert "Without a label: round 1, a frame: not converged." in lines
    assert "hot, diverged: replica 2 was too hot." in lines
    assert "Ended: 2 rounds are done." in lines
    assert lines[-2:] == ["- round-01/a", "- round-01/b"]


def test_a_loop_that_goes_on_and_one_that_agreed():
    assert "Not at its end yet." in markdown(content(first()))
    agreed = second()
    del agreed["label"], agreed["train"]
    text = markdown(content(first(), agreed, ended="they agree"))
    assert "| 1 | – | 0.1 | 0.3 | 0.7 | – | – | – | – | – | – |" in text
    assert "Not labelled: the loop ended." in text
