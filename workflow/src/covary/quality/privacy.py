"""Is anything copied from the training images? A membership attack, and distances to nearest neighbours.

The attack tells training images from held-out ones by how well the generator denoises them. Distances alone
say little about privacy (arXiv:2505.01524). They find the images to look at.

Generated images should be no closer to training images than held-out images are. Images that are smoother
than real ones, however, are closer to all images. Therefore the reverse is compared too: a training image
should be no closer to its nearest generated image than a held-out image is to its nearest generated image.
Otherwise membership in the training set can be inferred from the generated images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Num, UInt8
from scipy.stats import rankdata

from covary import rng
from covary.errors import UserError
from covary.quality.neighbours import Neighbours, nearest
from covary.resampling import percentile_interval
from covary.wording import ATTACK

NEAR_COPY = 0.01  # near copies are as close to a training image as the closest 1 % of held-out images

_COLUMNS = ["space", "measure", "value", "low", "high", "expected"]


@dataclass(frozen=True)
class Proximity:
    """Nearest neighbours between generated, training and held-out images in one space.

    `some_train` are as many training images as there are held-out ones, evenly spread over their order.
    """

    generated_to_train: Neighbours
    generated_to_some_train: Neighbours
    generated_to_held_out: Neighbours
    held_out_to_train: Neighbours
    train_to_generated: Neighbours
    held_out_to_generated: Neighbours

    @classmethod
    def between(
        cls,
        generated: Num[np.ndarray, "generated *feature"],
        train: Num[np.ndarray, "train *feature"],
        held_out: Num[np.ndarray, "held_out *feature"],
    ) -> "Proximity":
        """Compare Euclidean distances. Raises UserError if a set is empty."""
        for name, images in (("generated", generated), ("training", train), ("held-out", held_out)):
            if not len(images):
                raise UserError(f"privacy check: there are no {name} images")
        some = np.linspace(0, len(train) - 1, min(len(held_out), len(train))).astype(int)
        return cls(
            nearest(generated, train),
            nearest(generated, train[some]),
            nearest(generated, held_out),
            nearest(held_out, train),
            nearest(train, generated),
            nearest(held_out, generated),
        )


def closest_pairs(
    found: Mapping[str, Proximity],
    images: Mapping[str, UInt8[np.ndarray, "image *pixel"]],
    train: UInt8[np.ndarray, "train *pixel"],
    n_pairs: int = 5,
) -> dict[str, np.ndarray]:
    """The `n_pairs` closest pairs of each space, as arrays to store.

    `found` has the neighbours by name of the space; `images` has the sets `generated` and `held_out`. Returns
    `spaces` and, for each set and space number i, `<set>_<i>_images`, `…_nearest` and `…_distance`.
    """
    arrays: dict[str, np.ndarray] = {"spaces": np.array(list(found))}
    for name, stack in images.items():
        for i, proximity in enumerate(found.values()):
            near: Neighbours = getattr(proximity, f"{name}_to_train")
            first = np.argsort(near.distance, kind="stable")[:n_pairs]
            arrays[f"{name}_{i}_images"] = stack[first]
            arrays[f"{name}_{i}_nearest"] = train[near.index[first]]
            arrays[f"{name}_{i}_distance"] = near.distance[first]
    return arrays


def privacy_table(spaces: dict[str, Proximity], *, seed: int, resamples: int = 1000) -> pd.DataFrame:
    """Measures of copying in each space, by name, with 95 % intervals.

    Columns: space, measure, value, low, high, expected (without copying). The measures:
    `distance_to_train`, the median distance of generated images to the nearest training image, expected that
    of held-out images; `distance_to_held_out`, to the nearest held-out image, expected that to the nearest of
    as many training images; `closer_than_held_out`, the share of pairs of a generated and a held-out image in
    which the generated one is closer to its nearest training image; `near_copies`, the share of generated
    images closer to a training image than all but 1 % of the held-out ones; `membership_auc`, how well the
    distance to the nearest generated image tells training from held-out images (area under the ROC curve).
    """
    rows = []
    for space, p in spaces.items():
        generated, held_out = p.generated_to_train.distance, p.held_out_to_train.distance
        closer = area_under_curve(-generated, -held_out)
        near = near_copies(generated, held_out, seed=seed, resamples=resamples)
        member = area_under_curve(-p.train_to_generated.distance, -p.held_out_to_generated.distance)
        medians = [
            _median(near.distance, seed=seed, resamples=resamples)
            for near in (p.generated_to_train, p.generated_to_held_out)
        ]
        some_train = float(np.median(p.generated_to_some_train.distance))
        rows += [
            (space, "distance_to_train", *medians[0], float(np.median(held_out))),
            (space, "distance_to_held_out", *medians[1], some_train),
            (space, "closer_than_held_out", *closer, 0.5),
            (space, "near_copies", *near, NEAR_COPY),
            (space, "membership_auc", *member, 0.5),
        ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def attack_table(
    train: Float64[np.ndarray, " train"],
    held_out: Float64[np.ndarray, " held_out"],
    *,
    seed: int,
    resamples: int = 1000,
    compared_by: str = ATTACK,
) -> pd.DataFrame:
    """How well an attack tells training images from held-out ones, in the columns of `privacy_table`.

    `train` and `held_out` are the generator's errors (`denoising_errors`), or what else the images are
    `compared_by`, where training images have less of it. The measures: `membership_auc`,
    the area under the ROC curve (chance: 0.5); `true_positives`, the share of training images that the attack
    finds when it takes 1 % of the held-out images for training images (chance: 0.01).
    """
    found = near_copies(train, held_out, seed=seed, resamples=resamples)
    rows = [
        (compared_by, "membership_auc", *area_under_curve(-train, -held_out), 0.5),
        (compared_by, "true_positives", *found, NEAR_COPY),
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def area_under_curve(
    positive: Float[np.ndarray, " positive"], negative: Float[np.ndarray, " negative"], level: float = 0.95
) -> tuple[float, float, float]:
    """P(positive score > negative score), ties counting half, with DeLong's interval (1988).

    The interval is cut at 0 and 1.
    """
    m, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    placed_positive = (ranks[:m] - rankdata(positive)) / n
    placed_negative = 1 - (ranks[m:] - rankdata(negative)) / m
    area = float(placed_positive.mean())
    variance = sum(np.var(p, ddof=1) / len(p) for p in (placed_positive, placed_negative) if len(p) > 1)
    half_width = NormalDist().inv_cdf(0.5 + level / 2) * float(np.sqrt(variance))
    return area, max(0.0, area - half_width), min(1.0, area + half_width)


def near_copies(
    generated: Float[np.ndarray, " generated"],
    held_out: Float[np.ndarray, " held_out"],
    *,
    seed: int,
    resamples: int,
) -> tuple[float, float, float]:
    """Share of generated distances below the `NEAR_COPY` quantile of the held-out ones, with its interval.

    The same with errors in place of distances, and training images in place of generated ones, are the true
    positives of an attack at 1 % false ones.

    Both sets are resampled: with few held-out images it is the quantile that is uncertain.
    """
    n = len(generated)
    ordered = np.sort(generated)
    random = rng.generator(seed, "near_copies")
    drawn = random.choice(held_out, size=(resamples, len(held_out)))
    below = np.searchsorted(ordered, np.quantile(drawn, NEAR_COPY, axis=1))
    low, high = percentile_interval(random.binomial(n, below / n) / n)
    return float((generated < np.quantile(held_out, NEAR_COPY)).mean()), float(low), float(high)


def _median(values: Float[np.ndarray, " image"], *, seed: int, resamples: int) -> tuple[float, float, float]:
    drawn = rng.generator(seed, "median").choice(values, size=(resamples, len(values)))
    low, high = percentile_interval(np.median(drawn, axis=1))
    return float(np.median(values)), float(low), float(high)
