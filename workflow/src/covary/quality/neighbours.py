"""The nearest image of another set."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Num
from sklearn.metrics import pairwise_distances_argmin_min

_BLOCK = 1024


@dataclass(frozen=True)
class Neighbours:
    """For each image the closest one of another set, and the distance to it."""

    distance: Float64[np.ndarray, " image"]
    index: Int[np.ndarray, " image"]


def nearest(
    images: Num[np.ndarray, "image *feature"], others: Num[np.ndarray, "other *feature"]
) -> Neighbours:
    """The closest of the others to each image, by Euclidean distance."""
    flat = [a.reshape(len(a), -1).astype(np.float32, copy=False) for a in (images, others)]
    index, _ = pairwise_distances_argmin_min(*flat)
    # Once more without the cancellation of a² - 2ab + b², which blurs exactly the closest pairs.
    blocks = (slice(i, i + _BLOCK) for i in range(0, len(index), _BLOCK))
    exact = [
        np.linalg.norm(flat[0][rows].astype(np.float64) - flat[1][index[rows]], axis=1) for rows in blocks
    ]
    return Neighbours(np.concatenate(exact), index)
