"""A family of VAEs: its row in the paper's Table 1, and how much of a record it could carry."""

import numpy as np
import pandas as pd

from covary.config.vae import Vae
from covary.phenotypes.comparison import HERE, MODELS, main_accuracy
from covary.vae import VAE, read_back

_PAPER_VALUES = 3 * 68 * 68  # of an image of the paper
_BEST = 3


def family_row(
    network: VAE, config: Vae, history: pd.DataFrame, accuracies: pd.DataFrame, *, draws: int, seed: int
) -> dict[str, str | int | float | None]:
    """One row of `vae_families.csv`.

    `history` is that of the training, `accuracies` has the rows of this family's latents. The squared error
    and β are those of images of 3 · 68² values, as in the paper. The accuracy is that of the paper's question
    (not same compound) for 103 treatments, of sphered profiles, by cosine.
    readback_r2_1 … 3: of the three latents that are best read back from decodings, which as random effects
    could carry so much of a record.
    """
    last = history.iloc[-1]
    values = network.channels * network.arguments["size_px"] ** 2
    share = np.full(network.latent_dim, config.open_share)
    best = np.sort(read_back(network, share, draws, seed)[1])[::-1][:_BEST]
    found = main_accuracy(accuracies)
    return {
        "source": HERE,
        "family": config.family,
        "model": MODELS[config.family],
        "alpha": config.sparsity.alpha if config.is_sparse else None,
        "beta": config.beta * values / config.mse_weight,
        "epochs": config.epochs,
        "sse": last["mse"] * _PAPER_VALUES,
        "kl": last["kl"],
        "accuracy": found["accuracy"],
        "low": found["low"],
        "high": found["high"],
        "active_latents": int(last["active_units"]),
        "open_share": last.get("open_share"),
    } | {f"readback_r2_{i + 1}": r2 for i, r2 in enumerate(best)}
