r"""Diffusivity and conductivity from displacements alone: any crystal, no list of sites.

With Δ the displacement of a mobile atom relative to the framework, N of them in the cell,

$$ D^*_{ab} = \lim_{t\to\infty}\frac{1}{2t}\langle\Delta_a\Delta_b\rangle, \qquad
   D^\sigma_{ab} = \lim_{t\to\infty}\frac{1}{2tN}
   \Big\langle\sum_i\Delta_{ia}\sum_j\Delta_{jb}\Big\rangle, \qquad
   H_R = D^*/D^\sigma, $$

the tracer diffusivity, that of the charge, and the Haven ratio
(doi:10.1080/00018738900101162). Both are the slopes of straight lines with an offset, by
generalised least squares (`gls`): vibrations and jumps that are undone at once are in the
offset. Lags go from a tenth to half of the trajectory, or from where mobile atoms have
moved 5 Å (r.m.s.) if that is sooner.

**Errors.** Mobile atoms are many: the error of D* is from their scatter, widened by how
much more than independent atoms their sum fluctuates from window to window. The collective
displacement is one walk: its error is that of a Gaussian walk of so few independent
windows, and of the jumps it is made of.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Bool, Float, Int
from scipy import stats

from jaxdiff import units
from jaxdiff.analysis.estimate import NORMAL_95, Estimate, normal
from jaxdiff.analysis.gls import GlsFit, fit_msd, log_spaced_lags, window_overlap
from jaxdiff.analysis.moments import (
    exponent_of,
    line_weights,
    moment_ratio,
    second_moments,
    straightness,
    togetherness,
)
from jaxdiff.analysis.msd import at_lags
from jaxdiff.analysis.tensor import PAIRS, Tensor, ratio, tensor

REACH = 5.0
"""Å, root mean square: so far away an atom has forgotten where it came from."""

LEAST_FRAMES = 20
"""Of a trajectory: a tenth of it is then two frames."""

_SHARE = 10  # of the trajectory: the first lag, if atoms have not moved so far
_CURVE_LAGS = 40
_OWN_WEIGHTS = 1.15  # of the error of a walk whose weights come from itself, measured
_HOP = 3.69  # upper end of a Poisson mean where no hop was seen
_UNIT = "cm^2/s"


@dataclasses.dataclass(frozen=True)
class Paths:
    """Displacements of all atoms from the first frame, relative to the framework.

    - `displacement`, Å. `frame_ps`: between frames. `temperature`, K.
    - `volume`, Å^3: mean. `spacing`, Å: of neighbouring mobile atoms in the first frame.
    """

    displacement: Float[np.ndarray, "frames atoms 3"]
    atomic_number: Int[np.ndarray, " atoms"]
    is_mobile: Bool[np.ndarray, " atoms"]
    frame_ps: float
    temperature: float
    volume: float
    spacing: float

    @property
    def mobile(self) -> Float[np.ndarray, "frames mobile 3"]:
        """Of the mobile atoms."""
        return self.displacement[:, self.is_mobile]

    @property
    def n_mobile(self) -> int:
        """How many atoms are mobile."""
        return int(self.is_mobile.sum())

    @property
    def duration_ps(self) -> float:
        """From the first frame to the last."""
        return (len(self.displacement) - 1) * self.frame_ps


@dataclasses.dataclass(frozen=True)
class Line:
    """A mean squared displacement, Å^2, at times in ps, and the line through it.

    - `first_ps`, `last_ps`: lags of the fit. `offset`, Å^2, `slope`, Å^2/ps: of the line.
    """

    time_ps: tuple[float, ...]
    msd: tuple[float, ...]
    first_ps: float
    last_ps: float
    slope: float
    offset: float


@dataclasses.dataclass(frozen=True)
class Host:
    """How fast an element of the framework diffuses relative to all of it, cm^2/s."""

    symbol: str
    diffusivity: Estimate


@dataclasses.dataclass(frozen=True)
class Transport:
    """Motion of the mobile atoms at one temperature; of one trajectory or of several.

    - `duration_ps` and `n_mobile`: summed over the trajectories. `density`, 1/Å^3: of
      mobile atoms.
    - `tracer`, `charge`: D* and D_σ, cm^2/s; `charge` has the axes of `tracer`, which is
      better known.
    - `exponent`, `charge_exponent`: d ln MSD / d ln t over the lags of the fit: 1 where all
      of the motion is diffusive, less where vibrations are still a part of it.
    - `straight_p_value`: of the tracer's line being straight, the smallest of the
      trajectories times their number.
    - `lines`, `charge_lines`: curves and fits of each trajectory.
    - `host`: of each framework element.
    - `n_far`: mobile atoms whose mean place in the last tenth of the time is more than half
      of `spacing`, Å, that of neighbouring mobile atoms, from that in the first tenth.
    - `longest_step`, Å: of a mobile atom between frames.
    """

    temperature_kelvin: float
    n_trajectories: int
    duration_ps: float
    frame_ps: float
    n_mobile: int
    density: float
    tracer: Tensor
    charge: Tensor
    haven_ratio: Estimate
    exponent: Estimate
    charge_exponent: Estimate
    straight_p_value: float
    lines: tuple[Line, ...]
    charge_lines: tuple[Line, ...]
    host: tuple[Host, ...]
    n_far: int
    spacing: float
    longest_step: float


def measure(several: Sequence[Paths]) -> Transport:
    """The trajectories of one temperature, weighted by time and number of mobile atoms.

    Raises `ValueError` where one is shorter than `LEAST_FRAMES` or has no mobile atoms.
    """
    found = [_Tracer.of(paths) for paths in several]
    atom_time = np.array([p.duration_ps * p.n_mobile for p in several])
    time = np.array([p.duration_ps for p in several])
    bound = _HOP * several[0].spacing ** 2 / 6 / atom_time.sum() * units.CM2_PER_S
    tracer = tensor(
        *_together(found, atom_time),
        _UNIT,
        bound=bound,
    )
    collective = [_Charge.of(p, f, tracer) for p, f in zip(several, found, strict=True)]
    component, covariance = _together(collective, time)
    share = (time / time.sum()) ** 2
    still = np.einsum("t,tcd->cd", share, np.array([c.still for c in collective]))
    charge = tensor(component, covariance, _UNIT, like=tracer, still=still, bound=bound)
    return Transport(
        temperature_kelvin=several[0].temperature,
        n_trajectories=len(several),
        duration_ps=float(time.sum()),
        frame_ps=several[0].frame_ps,
        n_mobile=sum(p.n_mobile for p in several),
        density=float(np.average([p.n_mobile / p.volume for p in several], weights=time)),
        tracer=tracer,
        charge=charge,
        haven_ratio=ratio(tracer.mean, charge.mean),
        exponent=_mean([f.exponent for f in found], atom_time),
        charge_exponent=_mean([c.exponent for c in collective], time),
        straight_p_value=min(1.0, len(found) * min(f.straight_p_value for f in found)),
        lines=tuple(f.line for f in found),
        charge_lines=tuple(c.line for c in collective),
        host=_host(several, [f.lag for f in found], atom_time),
        n_far=sum(_far(p) for p in several),
        spacing=several[0].spacing,
        longest_step=max(_longest_step(p.mobile) for p in several),
    )


@dataclasses.dataclass(frozen=True)
class _Tracer:
    """D* of one trajectory; six numbers in the order of `PAIRS`, cm^2/s."""

    lag: Int[np.ndarray, " lags"]
    fit: GlsFit
    component: Float[np.ndarray, "6"]
    covariance: Float[np.ndarray, "6 6"]
    moment_ratio: float
    exponent: tuple[float, float]
    straight_p_value: float
    line: Line

    @classmethod
    def of(cls, paths: Paths) -> "_Tracer":
        lag = fitted_lags(paths)
        mobile, n = paths.mobile, paths.n_mobile
        moment = second_moments(mobile, lag)
        square = moment[:, :, :3].sum(axis=2)
        rho = moment_ratio(mobile, int(lag[0]))
        fit = _fit(square.T, lag, paths, rho)
        weight = line_weights(fit, lag * paths.frame_ps)
        of_atom = np.einsum("l,lwc->wc", weight, moment)
        excess = togetherness(mobile, max(1, int(lag[0]) // 4))
        excess *= float(stats.t.ppf(0.975, max(n - 1, 1)) / NORMAL_95) ** 2
        covariance = np.cov(of_atom.T) * excess / n if n > 1 else np.zeros((6, 6))
        third = np.array([1, 1, 1, 0, 0, 0]) / 3
        seen, modelled = float(third @ covariance @ third), fit.diffusivity.standard_error
        if modelled**2 > seen:
            # one atom alone has no scatter; its directions are taken as alike
            alike = modelled**2 * np.diag([3, 3, 3, 1.5, 1.5, 1.5])
            covariance = covariance * (modelled**2 / seen) if seen > 0 else alike
        spread = np.cov(square) * excess / n if n > 1 else fit.covariance
        return cls(
            lag=lag,
            fit=fit,
            component=of_atom.mean(axis=0),
            covariance=covariance,
            moment_ratio=rho,
            exponent=exponent_of(square.mean(axis=1), spread, lag),
            straight_p_value=straightness(square.mean(axis=1), spread, lag, n),
            line=_line(mobile, lag, fit.diffusivity.value, fit.intercept, paths.frame_ps),
        )


@dataclasses.dataclass(frozen=True)
class _Charge:
    """D_σ of one trajectory, as `_Tracer`; `still`: covariance by vibrations alone."""

    component: Float[np.ndarray, "6"]
    covariance: Float[np.ndarray, "6 6"]
    still: Float[np.ndarray, "6 6"]
    exponent: tuple[float, float]
    line: Line

    @classmethod
    def of(cls, paths: Paths, tracer: _Tracer, like: Tensor) -> "_Charge":
        """Axes that are alike in `like` share a fit, the others have their own."""
        n, lag, axes = paths.n_mobile, tracer.lag, np.array(like.axes)
        path = paths.mobile.sum(axis=1, dtype=float, keepdims=True) / math.sqrt(n)
        moment = second_moments(path @ axes.T, lag)[:, 0]
        weight, error, rest = np.empty((3, len(lag))), np.empty(3), np.empty(3)
        overlap, offset = window_overlap(len(path), lag).noise, 0.0
        spread = np.zeros((len(lag), len(lag)))
        for group in set(like.group):
            mine = np.flatnonzero(np.array(like.group) == group)
            square = 3 * moment[None, :, mine].mean(axis=2)
            fit = _fit(square, lag, paths, tracer.moment_ratio / n, len(mine) / 3)
            weight[mine] = line_weights(fit, lag * paths.frame_ps)
            error[mine] = fit.diffusivity.standard_error * math.sqrt(len(mine))
            error[mine] *= _OWN_WEIGHTS
            noise = max(fit.intercept, 0.0) / 3 * math.sqrt(2) / 2  # of a squared step
            rest[mine] = noise * math.sqrt(weight[mine[0]] @ overlap @ weight[mine[0]])
            offset += fit.intercept * len(mine) / 3
            spread += fit.covariance * (len(mine) / 3) ** 2
        first, second = np.array(PAIRS).T
        component = ((weight[first] + weight[second]) / 2 * moment.T).sum(axis=1)
        share = np.where(first == second, 1, 0.5)  # of Gaussian components
        turn = _turn(axes)
        return cls(
            component=turn @ component,
            covariance=turn @ np.diag(share * error[first] * error[second]) @ turn.T,
            still=turn @ np.diag(share * rest[first] * rest[second]) @ turn.T,
            exponent=exponent_of(moment[:, :3].sum(axis=1), spread, lag),
            line=_line(path, lag, float(component[:3].mean()), offset, paths.frame_ps),
        )


def fitted_lags(paths: Paths) -> Int[np.ndarray, " lags"]:
    """Lags of the fits, frames: see the module."""
    n_frames = len(paths.displacement)
    if n_frames < LEAST_FRAMES:
        raise ValueError(
            f"a trajectory has {n_frames} frames; a mean squared displacement over time "
            f"needs {LEAST_FRAMES} at least."
        )
    tenth = max(1, round(n_frames / _SHARE))
    early = log_spaced_lags(n_frames, last=tenth, n_lags=_CURVE_LAGS)
    far = at_lags(paths.mobile, early).mean(axis=1) >= REACH**2
    return log_spaced_lags(n_frames, first=int(early[far][0]) if far.any() else tenth)


def _fit(
    msd: Float[np.ndarray, "rows lags"],
    lag: Int[np.ndarray, " lags"],
    paths: Paths,
    rho: float,
    n_walkers: float = 1,
) -> GlsFit:
    return fit_msd(
        msd,
        lag,
        n_frames=len(paths.displacement),
        frame_ps=paths.frame_ps,
        moment_ratio=rho,
        intercept="noise",
        n_walkers=n_walkers,
    )


def _line(
    position: Float[np.ndarray, "frames walkers 3"],
    lag: Int[np.ndarray, " lags"],
    diffusivity: float,
    offset: float,
    frame_ps: float,
) -> Line:
    n_frames = len(position)
    shown = log_spaced_lags(n_frames, last=n_frames * 3 // 4, n_lags=_CURVE_LAGS)
    return Line(
        time_ps=tuple((shown * frame_ps).tolist()),
        msd=tuple(at_lags(position, shown).mean(axis=1).tolist()),
        first_ps=float(lag[0] * frame_ps),
        last_ps=float(lag[-1] * frame_ps),
        slope=6 * diffusivity / units.CM2_PER_S,
        offset=offset,
    )


def _together(
    found: "Sequence[_Tracer | _Charge]", weight: Float[np.ndarray, " trajectories"]
) -> tuple[Float[np.ndarray, "6"], Float[np.ndarray, "6 6"]]:
    """Weighted mean of independent trajectories, and its covariance."""
    share = weight / weight.sum()
    return (
        share @ np.array([f.component for f in found]),
        np.einsum("t,tcd->cd", share**2, np.array([f.covariance for f in found])),
    )


def _mean(given: Sequence[tuple[float, float]], weight: np.ndarray) -> Estimate:
    share, (value, error) = weight / weight.sum(), np.array(given).T
    total = math.sqrt(float(share**2 @ error**2))
    return normal(float(share @ value), total, len(given), "1")


def _turn(axes: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "6 6"]:
    """Takes six numbers along the axes to six along x, y and z."""
    columns = []
    for a, b in PAIRS:
        one = np.outer(axes[a], axes[b])
        both = one if a == b else one + one.T
        columns.append([both[c, d] for c, d in PAIRS])
    return np.array(columns).T


def _host(
    several: Sequence[Paths], lags: Sequence[np.ndarray], weight: np.ndarray
) -> tuple[Host, ...]:
    """D of each element that is not mobile; normal errors from the scatter of its atoms."""
    found: dict[str, list[tuple[float, float]]] = {}
    for paths, lag in zip(several, lags, strict=True):
        for number in np.unique(paths.atomic_number[~paths.is_mobile]):
            mine = (paths.atomic_number == number) & ~paths.is_mobile
            square = at_lags(paths.displacement[:, mine], lag)
            time = lag * paths.frame_ps
            slope = np.linalg.pinv(np.stack([time, np.ones(len(lag))], axis=1))[0]
            of_atom = slope @ square / 6 * units.CM2_PER_S
            error = of_atom.std(ddof=1) / math.sqrt(len(of_atom)) if len(of_atom) > 1 else 0
            found.setdefault(chemical_symbols[number], []).append((of_atom.mean(), error))
    share = weight / weight.sum()
    result = []
    for symbol, pairs in found.items():
        value, error = np.array(pairs).T
        total = math.sqrt(float(share**2 @ error**2))
        estimate = normal(float(share @ value), total, len(pairs), _UNIT)
        result.append(Host(symbol, estimate))
    return tuple(result)


def _far(paths: Paths) -> int:
    tenth = max(1, len(paths.displacement) // _SHARE)
    mobile = paths.mobile
    moved = mobile[-tenth:].mean(axis=0) - mobile[:tenth].mean(axis=0)
    return int((np.linalg.norm(moved, axis=1) > paths.spacing / 2).sum())


def _longest_step(mobile: Float[np.ndarray, "frames mobile 3"]) -> float:
    return max(
        float(np.linalg.norm(mobile[k + 1] - mobile[k], axis=1).max())
        for k in range(len(mobile) - 1)
    )
