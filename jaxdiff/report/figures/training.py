"""How a training run went: learning curves, and predictions over labels."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from jaxdiff.report.figures.style import LINES, SERIES, grid, new_figure, to_png

CURVES = (
    ("energy_rmse", "energy  (meV/atom)"),
    ("forces_rmse", "forces  (meV/Å)"),
    ("stress_rmse", "stress  (meV/Å³)"),
)
_DOTS = 4000  # of each set in a parity plot, so that the file stays small


def draw_learning(records: Sequence[Mapping]) -> bytes:
    """Losses, learning rate, and errors of the validation sets over epochs."""
    figure = new_figure(9.6, 6.0)
    axes = figure.subplots(2, 2, sharex=True)
    epoch = [record["epoch"] for record in records]
    marker = "o" if len(epoch) < 20 else None
    loss = axes[0, 0]
    for k, (key, label) in enumerate(
        (("train_loss", "training"), ("valid_loss", "valid."))
    ):
        values = [record[key] for record in records]
        loss.plot(
            epoch, values, LINES[k], color=SERIES[k], marker=marker, ms=3, label=label
        )
    loss.set_ylabel("loss")
    rate = loss.twinx()
    rate.plot(epoch, [r["learning_rate"] for r in records], color="0.7", lw=0.8)
    rate.set_ylabel("learning rate", color="0.5")
    rate.set_yscale("log")
    for (key, label), one in zip(CURVES, axes.flat[1:], strict=True):
        names = sorted(name for name in records[0] if name.endswith(key))
        for k, name in enumerate(sorted(names, key=len)):
            values = np.array([r[name] for r in records], float)
            head = name.removesuffix(key).rstrip("_") or "valid"
            if np.isfinite(values).any():
                one.plot(
                    epoch,
                    values,
                    LINES[k],
                    color=SERIES[k],
                    marker=marker,
                    ms=3,
                    label=head,
                )
        one.set_ylabel(f"RMS error of {label}")
    for one in axes.flat:
        one.set_yscale("log")
        one.yaxis.set_major_formatter("{x:g}")
        one.yaxis.set_minor_formatter("{x:g}")
        one.tick_params(axis="y", which="minor", labelsize=7)
        one.xaxis.set_major_locator(MaxNLocator(integer=True))
        if one.get_legend_handles_labels()[0]:  # none, where no frame has the label
            one.legend(frameon=False, fontsize=8)
        grid(one)
    for one in axes[1]:
        one.set_xlabel("epoch")
    return to_png(figure)


def draw_parity(predictions: Mapping[str, np.ndarray]) -> bytes:
    """Predictions over labels, and errors over labels below, of energies and forces."""
    figure = new_figure(9.6, 6.4)
    axes = figure.subplots(2, 2, sharex="col", height_ratios=(2.2, 1))
    for column, (kind, unit) in enumerate((("energy", "eV/atom"), ("forces", "eV/Å"))):
        above, below = axes[:, column]
        names = [name for name in predictions if name.endswith(f".{kind}")]
        for k, name in enumerate(names):
            _draw_set(
                above, below, predictions[name], name.removesuffix(f".{kind}"), k, kind
            )
        low, high = above.get_xlim()
        above.plot([low, high], [low, high], color="0.5", lw=0.8, zorder=0)
        above.set_xlim(low, high)
        below.axhline(0, color="0.5", lw=0.8, zorder=0)
        above.set_ylabel(f"predicted {kind}  ({unit})")
        below.set_ylabel(f"error  (m{unit})")
        below.set_xlabel(f"labelled {kind}  ({unit})")
        if above.get_legend_handles_labels()[0]:
            above.legend(frameon=False, fontsize=8)
        grid(above)
        grid(below)
    return to_png(figure)


def _draw_set(
    above: Axes, below: Axes, pairs: np.ndarray, name: str, k: int, kind: str
) -> None:
    if not len(pairs):
        return
    unit = "meV/atom" if kind == "energy" else "meV/Å"
    error = 1e3 * (pairs[:, 1] - pairs[:, 0])
    label = f"{name}: {np.sqrt(np.mean(error**2)):.3g} {unit}"
    # the same dots at every drawing; the number in the legend is of all
    few = np.random.default_rng(0).permutation(len(pairs))[:_DOTS]
    size = 8 if kind == "energy" else 2
    style = {"s": size, "color": SERIES[k % len(SERIES)], "alpha": 0.6, "linewidths": 0}
    above.scatter(pairs[few, 0], pairs[few, 1], label=label, **style)
    below.scatter(pairs[few, 0], error[few], **style)
