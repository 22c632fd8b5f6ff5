"""Gates: a run stops where images no longer carry the random effects, before hours are spent on the rest.

What can be read back of a latent is R² = 1 - E(z - ẑ)² / Var z, where ẑ is the posterior mean of the image
that was drawn for z: a decoding of z ~ N(0, I) after the VAE, an image of a subject's z after the generator.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from covary.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gate:
    """A place in the workflow where the run may stop: the key of its share, the images, and what may help."""

    key: str
    images: str
    remedy: str

    @property
    def off(self) -> str:
        """The setting that lets every run pass."""
        section, key = self.key.split(".")
        return f"`{section}: {{{key}: null}}`"


VAE = Gate(
    "gates.vae",
    "decodings of the VAE",
    "train the VAE longer (vae.epochs) or on more images, or lower vae.beta",
)
GENERATOR = Gate(
    "gates.generator",
    "generated images",
    "train the generator longer (generator.steps) or make it larger (generator.block_channels)",
)


def readable_shares(
    ranking: pd.DataFrame, random_effects: Sequence[str], readback_r2: Float[np.ndarray, " latent"]
) -> pd.DataFrame:
    """What can be read back of each random effect: its name, its latent and R², one row each.

    `ranking` is what `covary.vae.rank_latents` returns, `random_effects` are the model's names in order, and
    `readback_r2` is R² of every latent.
    """
    chosen = ranking[ranking["random_effect"] >= 0].sort_values("random_effect")["latent"].to_numpy()
    return pd.DataFrame(
        {"random_effect": list(random_effects), "latent": chosen, "readback_r2": readback_r2[chosen]}
    )


def pass_through(gate: Gate, shares: pd.DataFrame, least: float | None) -> None:
    """Say what can be read back; raise UserError if it is less than `least` of some random effect.

    `shares` is what `readable_shares` returns. With `least` None every run passes, and one warning names the
    random effects of which less than half can be read back.
    """
    log.info("readable from %s (R²): %s", gate.images, _named(shares))
    poor = shares[~(shares["readback_r2"] >= (0.5 if least is None else least))]  # NaN is poor, too
    if poor.empty:
        return
    if least is None:
        log.warning("%s is null: the run goes on although less than half can be read back of %s", gate.key,
                    _named(poor))  # fmt: skip
        return
    raise UserError(
        f"{gate.key}: a share of {least:g} of each random effect must be readable from {gate.images}, but "
        f"found {_named(poor)}; {gate.remedy}, or go on regardless with {gate.off} in the configuration"
    )


def _named(shares: pd.DataFrame) -> str:
    return ", ".join(
        f"{row.readback_r2:.2f} of {row.random_effect} (latent {row.latent})" for row in shares.itertuples()
    )
