"""A run from its run file to its series, through checkpoints, in a folder of its own."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdiff import md, observables, units
from jaxdiff.analysis.settling import settling
from jaxdiff.io.runfile import RunFile
from jaxdiff.io.series import SeriesWriter, joined_parts
from jaxdiff.io.site_log import SiteLog, ran_over
from jaxdiff.runs import checkpoint, folder, memory, records, self_check
from jaxdiff.runs.build import EQUILIBRATION, PRODUCTION, Ensemble, Load, build
from jaxdiff.runs.checkpoint import Checkpoint
from jaxdiff.stop import Stopped, StopRequest

Progress = Callable[[str, float, float, int], None]
"""(phase, fraction of it, ns/day of all replicas together, changes of site so far)."""

Say = Callable[[str], None]

PART_SECONDS = 10.0
"""About how long the program computes before the host looks at it, s."""
_PENDING_BYTES = 256_000_000  # of measurements, after which a checkpoint is due anyway


def simulate(
    run: RunFile,
    directory: Path,
    progress: Progress,
    say: Say = print,
    load: Load | None = None,
    patience_s: float | None = None,
) -> tuple[str, ...]:
    """Run it, go on with it, or find it complete; why each replica that diverged did so.

    - `patience_s`: how long another process in its folder is waited for; None: a moment.

    Raises `Stopped` after a signal, once everything is saved; `ValueError` or `OSError`
    for what the user can mend.
    """
    if patience_s and folder.run_folder(directory).is_claimed():
        say(
            f"Another process is running in {directory}, such as an earlier start of this "
            f"run that has not ended yet; waiting for it, up to {patience_s:g} s."
        )
    with folder.claimed(directory, patience_s):
        begun = folder.prepare(run, directory)
        ensemble = build(run, load)
        with StopRequest() as stop:
            journal = _Journal(ensemble, directory, stop, progress)
            try:
                if begun:
                    journal.resume(say)
                else:
                    journal.begin(say)
                return journal.complete()
            except jax.errors.JaxRuntimeError as error:
                advice = memory.explain(error, ensemble.plan.group_size)
                if advice is None:
                    raise
                raise advice from error


class _Journal:
    """The run as it goes: where it is, and what has been written of it."""

    def __init__(
        self, ensemble: Ensemble, directory: Path, stop: StopRequest, progress: Progress
    ) -> None:
        self.ensemble, self.directory, self.stop = ensemble, directory, stop
        self.run, self.progress = ensemble.run, progress
        self.started, self.saved = time.time(), time.monotonic()
        self.wall_before = 0.0
        self.ns_per_day: float | None = None  # of the last part of a phase
        self.phase = EQUILIBRATION
        self.state = ensemble.first_state()
        self.self_check: dict[str, Any] = {}
        self.series: SeriesWriter
        self.log: SiteLog | None = None

    def begin(self, say: Say) -> None:
        """The energies at the start; what the run will cost."""
        self._check_evaluator(say)
        self.series = self._series(0)
        ensemble, conditions = self.ensemble, self.ensemble.conditions(EQUILIBRATION)
        self.state = self._evaluate(conditions)
        say(records.estimate(ensemble, conditions, self.state))
        found = records.crystal_spectrum(ensemble, conditions, self.state)
        say(records.timestep_words(self.run, found))

    def resume(self, say: Say) -> None:
        """Take up the latest checkpoint; what was written after it is made again."""
        found = self._load()
        self.phase, self.state = found.phase, found.state
        self.wall_before = found.wall_s
        if not self._is_done(found.n_parts):
            self._check_evaluator(say)
        self.series = self._series(found.n_parts, found.part_sha256)
        if self.phase == PRODUCTION and self.state.hops is not None:
            self.log = SiteLog(self.series, **found.counters)
        say(
            f"Going on in {self.directory} from {self._time_ps():g} ps of {self.phase}, "
            f"after {found.wall_s / 3600:.2f} h. {found.note}".rstrip()
        )

    def complete(self) -> tuple[str, ...]:
        """Run what is left, and join the series; why replicas diverged."""
        if not self._is_done(self.series.n_parts):
            self._finish()
        bad = np.flatnonzero(np.asarray(self.state.diverged)).tolist()
        conditions = self.ensemble.conditions(PRODUCTION)
        return tuple(md.why(self.state, conditions, r) for r in bad)

    def _check_evaluator(self, say: Say) -> None:
        """Another evaluator from here on, where this one is wrong."""
        found = self.ensemble.measured(self.phase, self.state)
        given = found, found.conditions(self.phase), self.state
        found, self.self_check = self_check.settled(*given, say)
        self.ensemble = found.measured(self.phase, self.state)

    def _is_done(self, n_parts: int) -> bool:
        n_steps = self.run.steps(self.run.production.duration_ps)
        at_the_end = self.phase == PRODUCTION and int(self.state.step) >= n_steps
        return at_the_end and joined_parts(self.directory) == n_parts

    def _finish(self) -> None:
        run = self.run
        if self.phase == EQUILIBRATION:
            self._equilibrate()
            self._start_production()
        self._advance(run.steps(run.production.duration_ps))
        self._save()
        records.write_final(self.directory / folder.FINAL, self.ensemble, self.state)
        self.series.finish(
            "diverged" if np.any(np.asarray(self.state.diverged)) else "complete",
            finished=records.date(time.time()),
            wall_s=round(self._wall_s(), 3),
            **self._temperatures(),
        )
        self._tell(1.0, 0.0)

    def _equilibrate(self) -> None:
        """As long as asked; then, if that was asked too, each replica until it settles."""
        section = self.run.equilibration
        once = self.run.steps(section.duration_ps)
        longest = max(once, self.run.steps(section.longest_ps or 0.0))
        end = min(longest, once * max(1, -(-int(self.state.step) // max(once, 1))))
        self._advance(end)
        while end < longest and not self._hold_settled():
            end = min(longest, end + once)
            self._advance(end)

    def _hold_settled(self) -> bool:
        """Hold the replicas that have settled; whether none is left that has not."""
        names = ("time_ps", "temperature_kelvin", "potential_energy_ev")
        record = (self.series.column(f"{EQUILIBRATION}/{name}") for name in names)
        found = settling(*record, n_atoms=len(self.ensemble.is_mobile))
        self.state = md.hold(self.state, found.has_settled)
        return bool(np.all(np.asarray(self.state.bad_step) >= 0))

    def _temperatures(self) -> dict[str, Any]:
        """How hot positions are at the end, and how cold the time step makes momenta."""
        given = self.ensemble, self.ensemble.conditions(PRODUCTION), self.state
        found: dict[str, Any] = {
            "configurational_temperature": records.configurational_temperature(*given)
        }
        if self.run.integrator(PRODUCTION) == "langevin":
            step = self.run.ensemble.timestep_fs * units.FEMTOSECOND
            error = records.crystal_spectrum(*given).momentum_error(step)
            found["momentum_error"] = error
        return found

    def _load(self) -> Checkpoint:
        found = checkpoint.load(self.directory, self.state)
        if found is None:
            raise ValueError(
                f"{self.directory} has a series but no checkpoint, and cannot be gone on "
                "with; give another folder (--set output.directory=...)."
            )
        if found.model_sha256 != self.ensemble.potential.sha256:
            raise ValueError(
                f"the run in {self.directory} was made with another model (SHA-256 "
                f"{found.model_sha256[:12]}..., now "
                f"{self.ensemble.potential.sha256[:12]}...); give that one, or another "
                "folder (--set output.directory=...)."
            )
        if joined_parts(self.directory) > found.n_parts:
            raise ValueError(
                f"the series in {self.directory} is complete, but the checkpoint of its "
                "end is damaged, so it cannot be made longer: jaxdiff report still reads "
                "it; give another folder (--set output.directory=...) to run longer."
            )
        return found

    def _evaluate(self, conditions: md.Conditions) -> md.EnsembleState:
        ensemble = self.ensemble
        return md.evaluate(
            ensemble.run_chunk, ensemble.potential.params, conditions, self.state
        )

    def _series(self, n_parts: int, digests: tuple[str, ...] = ()) -> SeriesWriter:
        given = (self.ensemble, self.directory, self.started, n_parts, digests)
        checked = {"self_check": self.self_check} if self.self_check else {}
        return records.open_series(*given, **checked)

    def _start_production(self) -> None:
        hops = self.state.hops
        fresh = None if hops is None else jax.vmap(observables.reset)(hops)
        self.state, self.phase = md.restart(self.state, fresh), PRODUCTION
        self.series.set_diverged(records.diverged_ps(self.run, self.state))
        if fresh is not None:
            self.log = SiteLog.start(self.series, self.state.hops)
        self._save()

    def _advance(self, n_steps: int) -> None:
        """To that step of the phase, saving on the way."""
        ensemble, run = self.ensemble, self.run
        every = run.positions_every_ps if self.phase == PRODUCTION else None
        conditions = ensemble.conditions(self.phase)
        parts: Iterable[md.Part] = md.advance(
            ensemble.run_chunk,
            ensemble.plan,
            ensemble.potential.params,
            conditions,
            self.state,
            n_steps=max(0, n_steps - int(self.state.step)),
            integrator=run.integrator(self.phase),
            boundary=0 if every is None else run.steps(every),
            seconds=PART_SECONDS,
            ran_over=None if self.state.hops is None else ran_over,
        )
        for part in parts:
            self._record(part, every)
            self._tell(int(self.state.step) / n_steps, part.wall_s, part.n_steps)
            due = time.monotonic() - self.saved > 60 * run.output.checkpoint_minutes
            if due or self.stop.signal or self.series.pending_bytes > _PENDING_BYTES:
                self._save()
            if self.stop.signal:
                raise Stopped(
                    f"Stopped by signal {self.stop.signal} at {self._time_ps():g} ps "
                    f"of {self.phase}, and saved; the same command goes on.",
                    self.stop.signal,
                )

    def _record(self, part: md.Part, every: float | None) -> None:
        """What a chunk measured, into the series."""
        self.state = part.state
        group = "thermo" if self.phase == PRODUCTION else EQUILIBRATION
        records.append_part(self.series, self.run, group, part)
        if self.log is not None:
            self.log.write(self.state.hops)
        step = int(self.state.step)
        if every is not None and step % self.run.steps(every) == 0:
            position = np.asarray(self.state.motion.position)[:, None]
            self.series.append_positions(np.array([self._time_ps()]), position)
        if part.diverged:
            self.series.set_diverged(records.diverged_ps(self.run, self.state))

    def _save(self) -> None:
        """A part of the series, then the checkpoint that counts it."""
        log = self.log
        counters = {} if log is None else log.counters()
        checkpoint.save(
            self.directory,
            Checkpoint(
                self.phase,
                self.state,
                counters,
                self.series.flush(),
                self._wall_s(),
                self.ensemble.potential.sha256,
                self.series.digests,
            ),
        )
        self.saved = time.monotonic()

    def _time_ps(self) -> float:
        return int(self.state.step) * self.run.ensemble.timestep_fs / 1e3

    def _wall_s(self) -> float:
        return self.wall_before + time.time() - self.started

    def _tell(self, fraction: float, wall_s: float, n_steps: int = 0) -> None:
        run = self.run
        if wall_s:
            simulated_ns = run.n_replicas * n_steps * run.ensemble.timestep_fs / 1e6
            self.ns_per_day = round(simulated_ns / wall_s * 86400, 4)
        changes = 0 if self.log is None else int(self.log.changes.sum())
        self.progress(self.phase, fraction, self.ns_per_day or 0.0, changes)
        record = {
            "phase": self.phase,
            "done_ps": self._time_ps(),
            "total_ps": getattr(run, self.phase).duration_ps,
            "ns_per_day": self.ns_per_day,
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        folder.run_folder(self.directory).write_progress(record)
