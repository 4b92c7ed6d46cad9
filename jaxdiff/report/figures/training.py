"""How a training run went: learning curves, and predictions over labels."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxdiff.report.figures.style import (
    LINES,
    NORMAL,
    SERIES,
    SMALL,
    TWO_COLUMNS,
    frame,
    key,
    logarithmic,
    new_figure,
    place,
)

CURVES = {
    "energy": ("energy_rmse", "energy  (meV/atom)"),
    "forces": ("forces_rmse", "forces  (meV/Å)"),
    "stress": ("stress_rmse", "stress  (meV/Å³)"),
}
_UNITS = {"energy": "eV/atom", "forces": "eV/Å"}
_DOTS = 4000  # of each set in a parity plot, so that the file stays small


def learning(records: Sequence[Mapping]) -> Figure:
    """Losses and errors of the validation sets over epochs, on one sheet."""
    figure = new_figure(TWO_COLUMNS, 5.0)
    axes = figure.subplots(2, 2, sharex=True)
    training_loss(records, axes[0, 0])
    for quantity, one in zip(CURVES, axes.flat[1:], strict=True):
        training_error(records, quantity, one)
    for one in axes[0]:
        one.set_xlabel("")
    return figure


def training_loss(records: Sequence[Mapping], ax: Axes | None = None) -> Axes:
    """Losses of training and validation, and the learning rate, over epochs."""
    axes = place(ax)
    for k, (name, label) in enumerate(
        (("train_loss", "training"), ("valid_loss", "validation"))
    ):
        _curve(axes, records, name, label, k)
    rate = axes.twinx()
    epoch = [record["epoch"] for record in records]
    values = [record["learning_rate"] for record in records]
    rate.plot(epoch, values, color="0.5", lw=0.8, ls=":", gid="learning rate")
    rate.set_ylabel("learning rate", color="0.4", fontsize=NORMAL)
    rate.set_xlabel("epoch")
    rate.tick_params(labelsize=SMALL)
    logarithmic(rate)
    axes.plot([], [], color="0.5", lw=0.8, ls=":", label="learning rate")
    _finish(axes, "loss")
    return axes


def training_error(
    records: Sequence[Mapping], quantity: str, ax: Axes | None = None
) -> Axes:
    """RMS errors of the validation sets over epochs; `quantity`: energy, forces, stress."""
    axes = place(ax)
    suffix, label = CURVES[quantity]
    names = sorted((n for n in records[0] if n.endswith(suffix)), key=lambda n: (len(n), n))
    for k, name in enumerate(names):
        head = name.removesuffix(suffix).rstrip("_") or "validation"
        _curve(axes, records, name, head, k)
    _finish(axes, f"RMS error of {label}")
    return axes


def _curve(axes: Axes, records: Sequence[Mapping], name: str, label: str, k: int) -> None:
    """One value over epochs; nothing where no frame has the label."""
    values = np.array([record[name] for record in records], float)
    if np.isfinite(values).any():
        axes.plot(
            *([record["epoch"] for record in records], values),
            ls=LINES[k % len(LINES)],
            color=SERIES[k % len(SERIES)],
            marker="o" if len(records) < 20 else None,
            ms=3,
            lw=1.2,
            label=label,
        )


def _finish(axes: Axes, label: str) -> None:
    frame(axes, "epoch", label)
    if len(axes.lines):
        logarithmic(axes)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    key(axes)


def parity_sheet(predictions: Mapping[str, np.ndarray]) -> Figure:
    """Predictions over labels, and errors over labels below, of energies and forces."""
    figure = new_figure(TWO_COLUMNS, 5.0)
    axes = figure.subplots(2, 2, sharex="col", height_ratios=(2.2, 1))
    for column, kind in enumerate(_UNITS):
        for draw, one in zip((parity, parity_error), axes[:, column], strict=True):
            partial(draw, predictions, kind)(one)
        axes[0, column].set_xlabel("")
        axes[1, column].get_legend().remove() if axes[1, column].get_legend() else None
    return figure


def parity(
    predictions: Mapping[str, np.ndarray], kind: str = "forces", ax: Axes | None = None
) -> Axes:
    """Predicted over labelled `kind`, energy or forces, of each set, with RMS errors.

    - `predictions`: "SET.KIND" to pairs (labelled, predicted), as in predictions.npz.
    """
    axes = place(ax)
    _scatter(axes, predictions, kind, lambda label, predicted: predicted)
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color="0.5", lw=0.8, zorder=0)
    axes.set_xlim(low, high)
    unit = _UNITS[kind]
    frame(axes, f"labelled {kind}  ({unit})", f"predicted {kind}  ({unit})")
    key(axes, "upper left", markerscale=2)
    return axes


def parity_error(
    predictions: Mapping[str, np.ndarray], kind: str = "forces", ax: Axes | None = None
) -> Axes:
    """Predicted less labelled `kind` over labelled, in thousandths of its unit."""
    axes = place(ax)
    _scatter(axes, predictions, kind, lambda label, predicted: 1e3 * (predicted - label))
    axes.axhline(0, color="0.5", lw=0.8, zorder=0)
    unit = _UNITS[kind]
    frame(axes, f"labelled {kind}  ({unit})", f"error  (m{unit})")
    key(axes, "upper left", markerscale=2)
    return axes


def _scatter(axes: Axes, predictions: Mapping[str, np.ndarray], kind: str, of) -> None:
    names = [name for name in predictions if name.endswith(f".{kind}")]
    for k, name in enumerate(names):
        pairs = predictions[name]
        if not len(pairs):
            continue
        error = 1e3 * (pairs[:, 1] - pairs[:, 0])
        label = f"{name.removesuffix(f'.{kind}')}: {np.sqrt(np.mean(error**2)):.3g}"
        # the same dots at every drawing; the number in the key is of all
        few = np.random.default_rng(0).permutation(len(pairs))[:_DOTS]
        axes.scatter(
            *(pairs[few, 0], of(*pairs[few].T), 6 if kind == "energy" else 1.5),
            color=SERIES[k % len(SERIES)],
            alpha=0.6,
            linewidths=0,
            rasterized=True,
            label=f"{label} m{_UNITS[kind]} RMS",
        )
