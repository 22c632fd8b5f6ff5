"""How z is distributed over synthetic subjects."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int

from covary import rng


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians: the joint distribution of `latents` in the encodings of real images."""

    latents: Int[np.ndarray, " d"]
    weights: Float64[np.ndarray, " k"]
    means: Float64[np.ndarray, "k d"]
    covariances: Float64[np.ndarray, "k d d"]


@dataclass(frozen=True)
class Latents:
    """The distribution of z over synthetic subjects, for `random_effects`, the latents chosen as such.

    The random effects are N(0, I). Every other latent is N(0, 1), and 0 where its gate is closed;
    `open_share` says how often the gate of each latent is open. With a `mixture`, its latents are drawn from
    their distribution given the random effects instead.
    """

    random_effects: Int[np.ndarray, " random_effect"]
    open_share: Float64[np.ndarray, " latent"]
    mixture: Mixture | None = None

    @property
    def in_words(self) -> str:
        """One sentence for those who read the dataset."""
        others = "are independent of them"
        if self.mixture is not None:
            others = "were drawn given these, from a mixture of Gaussians fitted to encodings of real images"
        return f"the random effects are N(0, I) and independent; the other latents {others}"

    def draw(self, seed: int, name: str, start: int, stop: int) -> Float64[np.ndarray, "subject latent"]:
        """z of the subjects `start … stop - 1`, each from its own random stream."""
        z = rng.latents(seed, name, start, stop, self.open_share)
        if self.mixture is None:
            return z
        return self._given_random_effects(z, rng.uniform(seed, f"{name}/component", start, stop, (1,)))

    def typical(self) -> Float64[np.ndarray, " latent"]:
        """z of an ordinary image: random effects are 0, the others at the mean of the likeliest component."""
        z = np.zeros(len(self.open_share))
        if self.mixture is not None:
            parts = self._conditional
            log_weight, off = parts.log_weights(z[None, self.random_effects])
            k = int(log_weight[0].argmax())
            z[parts.others] = parts.mean_others[k] + parts.slope[k] @ off[0, k]
        return z

    @classmethod
    def of_ranking(cls, ranking: pd.DataFrame, mixture: Mixture | None = None) -> "Latents":
        """The distribution for the latents that a ranking chose as random effects.

        `ranking` has one row per latent: latent, random_effect, the number of the one it serves as, or -1,
        and open_share. Raises ValueError if the random effects are not numbered 0 … k - 1.
        """
        chosen = ranking.loc[ranking["random_effect"] >= 0].sort_values("random_effect")
        if list(chosen["random_effect"]) != list(range(len(chosen))) or chosen.empty:
            raise ValueError("latent ranking: random effects must be numbered 0 … k - 1")
        return cls(chosen["latent"].to_numpy(int), ranking["open_share"].to_numpy(float), mixture)

    def write(self, path: Path) -> None:
        """Write the distribution as JSON, to the last digit."""
        mixture = (
            None
            if self.mixture is None
            else {name: value.tolist() for name, value in vars(self.mixture).items()}
        )
        about = {
            "random_effects": self.random_effects.tolist(),
            "open_share": self.open_share.tolist(),
            "mixture": mixture,
        }
        path.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Latents":
        """Read what `write` wrote."""
        about = json.loads(path.read_text(encoding="utf-8"))
        mixture = about["mixture"] and Mixture(
            **{name: np.array(value, float if name != "latents" else int)
               for name, value in about["mixture"].items()}
        )  # fmt: skip
        return cls(np.array(about["random_effects"], int), np.array(about["open_share"], float), mixture)

    def _given_random_effects(
        self, z: Float64[np.ndarray, "subject latent"], u: Float64[np.ndarray, "subject 1"]
    ) -> Float64[np.ndarray, "subject latent"]:
        """Replace the other latents of the mixture by draws given the random effects in z.

        A component is drawn by `u`, the latents given the component by the noise that is in their place.
        Sums run within each subject alone, so that no digit depends on the other subjects.
        """
        parts = self._conditional
        log_weight, off = parts.log_weights(z[:, self.random_effects])
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        share = weight.cumsum(axis=1) / weight.sum(axis=1, keepdims=True)
        k = np.minimum((share < u).sum(axis=1), len(parts.log_weight) - 1)  # sums of shares may end below 1
        off = np.take_along_axis(off, k[:, None, None], axis=1)
        mean = parts.mean_others[k] + (parts.slope[k] * off).sum(axis=-1)
        z = z.copy()
        z[:, parts.others] = mean + (parts.factor[k] * z[:, None, parts.others]).sum(axis=-1)
        return z

    @cached_property
    def _conditional(self) -> "_Conditional":
        assert self.mixture is not None
        latents, weights, means, covariances = vars(self.mixture).values()
        is_given = np.isin(latents, self.random_effects)
        order = np.argsort(self.random_effects)  # latents of a mixture rise
        given = np.empty(len(order), int)
        given[order] = np.flatnonzero(is_given)
        others = np.flatnonzero(~is_given)
        of_given = covariances[:, given[:, None], given]
        whitening = np.linalg.inv(np.linalg.cholesky(of_given))
        slope = np.linalg.solve(of_given, covariances[:, given[:, None], others]).swapaxes(1, 2)
        rest = covariances[:, others[:, None], others] - slope @ covariances[:, given[:, None], others]
        return _Conditional(
            others=latents[others],
            log_weight=np.log(weights) + np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(axis=1),
            mean_given=means[:, given],
            mean_others=means[:, others],
            whitening=whitening,
            slope=slope,
            factor=np.linalg.cholesky(rest),
        )


class _Conditional(NamedTuple):
    """The latents that are not random effects, given those that are, for each component."""

    others: Int[np.ndarray, " other"]
    log_weight: Float[np.ndarray, " k"]  # of the component, at the mean of its random effects
    mean_given: Float[np.ndarray, "k random_effect"]
    mean_others: Float[np.ndarray, "k other"]
    whitening: Float[np.ndarray, "k random_effect random_effect"]
    slope: Float[np.ndarray, "k other random_effect"]
    factor: Float[np.ndarray, "k other other"]

    def log_weights(
        self, given: Float64[np.ndarray, "subject random_effect"]
    ) -> tuple[Float64[np.ndarray, "subject k"], Float64[np.ndarray, "subject k random_effect"]]:
        """Of each component, its log weight given the random effects, and how far these are from its mean."""
        off = given[:, None] - self.mean_given
        squares = np.square((self.whitening * off[:, :, None]).sum(axis=-1)).sum(axis=-1)
        return self.log_weight - 0.5 * squares, off
