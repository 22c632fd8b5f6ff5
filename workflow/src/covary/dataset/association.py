"""How strongly image and record are tied: eta → eta_hat, and what an image can explain of it."""

import numpy as np
from jaxtyping import Float


def blur(
    eta: Float[np.ndarray, "subject random_effect"],
    noise_variance: float,
    r: Float[np.ndarray, "subject random_effect"],
) -> Float[np.ndarray, "subject random_effect"]:
    """Random effects that drive the record: eta_hat = (eta + σ r) / √(1 + σ²), still N(0, 1) (equation 10).

    `r` holds standard normal draws; `noise_variance` is σ². Raises ValueError if the variance is not a
    number ≥ 0 or the shapes differ.
    """
    _check_variance(noise_variance)
    if eta.shape != r.shape:
        raise ValueError(f"blur: r must have the shape of eta, {eta.shape}, got {r.shape}")
    return (eta + np.sqrt(noise_variance) * r) / np.sqrt(1.0 + noise_variance)


def explainable_fraction(noise_variance: float) -> float:
    """The most of eta_hat's variance that any image model can explain: 1 / (1 + σ²).

    Raises ValueError if the variance is not a number ≥ 0.
    """
    _check_variance(noise_variance)
    return 1.0 / (1.0 + noise_variance)


def _check_variance(noise_variance: float) -> None:
    if not 0.0 <= noise_variance < np.inf:
        raise ValueError(f"noise_variance must be a number ≥ 0, got {noise_variance}")
