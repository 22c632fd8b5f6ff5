"""Stop the run if the random effects cannot be read back from decodings of the VAE."""

from pathlib import Path

import pandas as pd

from covary import gates
from covary.jobs.run import run


def check_latents(ranking: Path, table: Path, random_effects: list[str], least: float | None) -> None:
    """Write what can be read back of each random effect, if it is enough."""
    ranked = pd.read_csv(ranking)
    shares = gates.readable_shares(ranked, random_effects, ranked["readback_r2"].to_numpy())
    gates.pass_through(gates.VAE, shares, least)
    shares.to_csv(table, index=False)


if __name__ == "__main__":
    run(check_latents)
