"""Who gives what for one run: this project, kinisi, MDAnalysis, tidynamics and GEMDAT.

python benchmarks/peers_run.py RUN_DIR [RECORD.json] [--kinisi]

RUN_DIR has a series.h5 with whole frames (`--keep-frames`, `output.positions_every_ps`).
Mean squared displacements of the whole frames against MDAnalysis and tidynamics; GEMDAT's
tracer diffusivity of the same frames, of which vibrations are a part; with --kinisi
(minutes for each replica) the jump diffusivity of the site-projected path times the number
of cations, which is D_def. What is not installed is left out.
"""

import importlib.util
import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness import Record, write

from jaxdiff.analysis import load_series, summarize
from jaxdiff.analysis.exports import to_kinisi, to_mdanalysis
from jaxdiff.analysis.msd import mean_squared_displacement


def installed(name: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(name) is not None


def kinisi_defect(series, replicas) -> tuple[float, float]:
    """D_def of kinisi, cm^2/s, and its error: N_Li times its jump diffusivity."""
    from kinisi.displacement import calculate_mstd
    from kinisi.jump_diffusion_analyzer import JumpDiffusionAnalyzer

    values = []
    for replica in replicas:
        parser = to_kinisi(series, int(replica))
        analyzer = JumpDiffusionAnalyzer(parser)
        analyzer._dg = calculate_mstd(parser, progress=False)  # as its readers do
        start = analyzer.dg["da"].coords["time interval"][0]
        analyzer.jump_diffusion(start, n_samples=200, progress=False)
        jump = np.mean(analyzer.D_J.to(unit="cm^2/s").values)
        values.append(float(jump) * series.n_mobile)
    return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5)


def msd_differences(series) -> dict[str, float]:
    """Largest relative difference of mean squared displacements of the first replica."""
    cation = np.asarray(series.position[0], float)[:, series.is_mobile]
    ours = mean_squared_displacement(cation)
    found = {}
    if installed("tidynamics"):
        import tidynamics

        theirs = np.stack([tidynamics.msd(cation[:, i]) for i in range(5)], axis=1)
        found["tidynamics"] = float(np.abs(theirs[1:] / ours[1:, :5] - 1).max())
    if installed("MDAnalysis"):
        from MDAnalysis.analysis.msd import EinsteinMSD

        universe = to_mdanalysis(series, 0)
        theirs = EinsteinMSD(universe, select="name M", fft=False).run()
        per_cation = theirs.results.msds_by_particle[1:]
        found["MDAnalysis"] = float(np.abs(per_cation / ours[1:] - 1).max())
    return found


def gemdat_tracer(series, replica: int, kelvin: float) -> float:
    """GEMDAT's tracer diffusivity of the frames kept, cm^2/s: last frame, no error."""
    from gemdat import Trajectory
    from pymatgen.core import Element

    frames = np.asarray(series.position[replica], float)
    frames -= frames[:, ~series.is_mobile].mean(axis=1, keepdims=True)
    fractional = np.linalg.solve(series.cell[replica].T, frames.reshape(-1, 3).T).T
    species = [Element("Li") if mobile else Element("F") for mobile in series.is_mobile]
    step_ps = float(np.diff(series.position_time_ps[:2])[0])
    trajectory = Trajectory(
        species=species,
        coords=fractional.reshape(frames.shape),
        lattice=series.cell[replica],
        constant_lattice=True,
        time_step=step_ps * 1e-12,
        metadata={"temperature": kelvin},
    )
    lithium = trajectory.filter("Li")
    return float(lithium.metrics().tracer_diffusivity(dimensions=3)) * 1e4


def main(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run with whole frames.")],
    record: Record = None,
    kinisi: Annotated[
        bool, typer.Option("--kinisi", help="Its jump diffusivity too: takes minutes.")
    ] = False,
) -> None:
    """Compare the diffusivities of one run by several programs."""
    warnings.simplefilter("ignore")
    series = load_series(run_dir / "series.h5")
    rows = []
    for row in summarize(series).rows:
        kelvin = row.temperature_kelvin
        replicas = np.flatnonzero(series.temperature == kelvin)
        entry = {"temperature_kelvin": kelvin, "hops": row.hops}
        ours = row.defect_diffusivity
        entry["d_def_hop_count"] = [ours.value, ours.standard_error]
        if kinisi and installed("kinisi"):
            entry["d_def_kinisi"] = kinisi_defect(series, replicas)
        entry["d_tracer_hop_count"] = row.tracer_diffusivity.value
        if installed("gemdat"):
            each = [gemdat_tracer(series, int(r), kelvin) for r in replicas]
            entry["d_tracer_gemdat"] = float(np.mean(each))
        rows.append(entry)
        print(entry, flush=True)
    found = {"temperatures": rows, "msd_relative_difference": msd_differences(series)}
    print(found["msd_relative_difference"])
    if record is not None:
        write(record, found)


if __name__ == "__main__":
    typer.run(main)
