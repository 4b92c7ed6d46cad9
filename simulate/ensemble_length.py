"""How long must the replicas of `lif_ensemble.toml` be for Ea ± 0.01 eV (95 %)?

    python simulate/ensemble_length.py [--half-width-ev 0.01]

The rates are those of 56 hops of the embedded model (docs/hops.md); then of a higher
energy, with the same rate at 600 K: hops at the coldest are rarer, and the answer longer.
"""

from typing import Annotated

import numpy as np
import typer

from jaxdiff.analysis.arrhenius import fit_arrhenius, inverse_kt
from jaxdiff.analysis.planning import plan_shares

N_REPLICAS = 64
TEMPERATURE = np.array([400.0, 500.0, 600.0, 700.0])


def main(
    half_width_ev: Annotated[
        float, typer.Option(help="Half of the interval of Ea, 95 %.")
    ] = 0.01,
) -> None:
    """How long must the replicas of lif_ensemble.toml be?"""
    measured = fit_arrhenius(
        np.array([475.0, 550.0, 625.0, 700.0]),
        np.array([6, 14, 15, 21]),  # hops
        np.full(4, 32.3),  # ps, two replicas
    )
    at_600 = measured.predict(np.array([600.0]))[0]
    x = inverse_kt(TEMPERATURE) - inverse_kt(np.array([600.0]))
    for energy in (measured.activation_energy.value, 0.20, 0.24):
        rates = at_600 * np.exp(-energy * x)
        plan = plan_shares(TEMPERATURE, rates, np.ones(4), half_width_ev)
        total_ps = plan.exposure_ps.sum()
        print(
            f"Ea = {energy:.3f} eV: {total_ps / 1e3:.1f} ns in all, "
            f"{total_ps / N_REPLICAS:.0f} ps per replica, {plan.hops.sum():.0f} hops"
        )


if __name__ == "__main__":
    typer.run(main)
