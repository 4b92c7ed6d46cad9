"""What a gradient of each objective costs, beside that of force matching.

python benchmarks/objectives_cost.py [RECORDS.jsonl] [--tiny]

The embedded model in float64, its collinear jump in 65 atoms. Each case has a process of
its own; the first call compiles, the median of three more counts. Memory is beyond what the
process had with model and points loaded.
"""

import statistics
import time

import numpy as np
import typer
from harness import Records, Tiny, alone, append, peak_gib, provenance


def setting():
    """Model and surface."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    from jaxdiff.checkpoints import load
    from jaxdiff.objectives.paths import lithium_path
    from jaxdiff.objectives.surface import make_surface
    from jaxdiff.potential import cast

    model = cast(load("lif-compact"), jnp.float64)
    path = lithium_path("collinear", (2, 2, 2))
    return model, make_surface(model, path.system), path


def search(n_images: int) -> dict:
    """The points of the jump, and what they cost."""
    from jaxdiff.objectives.barrier import Settings, find_barrier

    model, surface, path = setting()
    begin = time.perf_counter()
    found = find_barrier(model, surface, path, Settings(n_images))
    points = (found.saddle, found.start, found.end)
    return {
        "force_calls": found.force_calls,
        "seconds": round(time.perf_counter() - begin, 1),
        "peak_gib": round(peak_gib(), 2),
        "points": [np.asarray(point.position) for point in points],
    }


def functions(points, n_frames: int):
    """Cases by name: a call that makes the gradient; ensembles of so many frames."""
    import dataclasses

    import jax
    import jax.numpy as jnp

    from jaxdiff.objectives import harmonic
    from jaxdiff.objectives.barrier import barrier_gradient
    from jaxdiff.objectives.surface import evaluate
    from jaxdiff.objectives.transition import ensemble_gradient

    model, surface, _ = setting()
    saddle, minimum, end = map(jnp.asarray, points)
    near = harmonic.atoms_around(surface, minimum, end, 3.0)
    rng = np.random.default_rng(0)
    frames = [
        jnp.asarray(np.asarray(x) + rng.normal(0, 0.08, (n_frames, *x.shape)))
        for x in (saddle, minimum)
    ]
    label = evaluate(surface, model, minimum)[1]

    @jax.jit
    def matching(weights, position):
        def loss(weights):
            trial = dataclasses.replace(model, weights=weights)
            force = surface.energy_and_force(trial, position)[1]
            return jnp.mean((force - label) ** 2)

        return jax.grad(loss)(weights)

    both = jax.jit(barrier_gradient)
    return {
        "energy and forces": lambda: evaluate(surface, model, minimum),
        "force matching, one frame": lambda: matching(model.weights, saddle),
        "barrier": lambda: both(model, surface, saddle, minimum),
        "ln rate, 21 atoms vibrate": lambda: harmonic.log_rate_gradient(
            model, surface, saddle, minimum, 500.0, near
        )[1],
        "ln rate, all 65 vibrate": lambda: harmonic.log_rate_gradient(
            model, surface, saddle, minimum, 500.0
        )[1],
        f"ln rate at a temperature, {n_frames} + {n_frames} frames": lambda: (
            ensemble_gradient(model, surface, *frames, 0.05)
        ),
    }


def measure(name: str, points, n_frames: int, repeats: int) -> dict:
    """Seconds and memory of one case."""
    import jax

    call = functions(points, n_frames)[name]
    before, begin = peak_gib(), time.perf_counter()
    jax.block_until_ready(call())
    first, seconds = time.perf_counter() - begin, []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - begin)
    return {
        "case": name,
        "first_call_s": round(first, 2),
        "seconds": round(statistics.median(seconds), 4),
        "peak_gib": round(peak_gib() - before, 3),
    }


def names(n_frames: int) -> list[str]:
    """Of all cases."""
    zero = np.zeros((65, 3))
    return list(functions([zero, zero, zero], n_frames))


def main(records: Records = None, tiny: Tiny = False) -> None:
    """Time a gradient of each objective."""
    n_images, n_frames, repeats = (3, 1, 1) if tiny else (7, 50, 3)
    found = alone(search, n_images)
    points = found.pop("points")
    print(f"search: {found}", flush=True)
    rows = []
    for name in alone(names, n_frames):
        rows.append(alone(measure, name, points, n_frames, repeats))
        print(rows[-1], flush=True)
    record = {"search": found, "cases": rows, **provenance("jaxdiff", "jax", "jaxlib")}
    if records is not None:
        append(records, record)


if __name__ == "__main__":
    typer.run(main)
