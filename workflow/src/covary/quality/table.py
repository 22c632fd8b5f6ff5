"""The table `generator_quality.csv`: measures of the generated images and of their reconstructions."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from covary.quality.distances import frechet_distance, kernel_distance, precision_and_recall
from covary.quality.features import FeatureSpace, readback_r2
from covary.quality.layers import fine_detail, layer_continuity
from covary.quality.sets import ImageSets, spread
from covary.quality.similarity import mean_squared_error, nearest_by_pixels, structural_similarity

COLUMNS = ["measure", "of", "against", "feature_space", "latent", "n", "value"]
_NEAREST_IMAGES = 100


def generator_quality(
    images: ImageSets,
    spaces: list[FeatureSpace],
    z: Float[np.ndarray, "k latent"],
    z_read: Float[np.ndarray, "k latent"],
    ranking: pd.DataFrame,
    readback_draws: int,
    *,
    are_scans: bool = False,
) -> pd.DataFrame:
    """Columns measure, of, against, feature_space, latent, n, value; one row per number.

    - readback_r2 of each active latent: `z_read`, the posterior mean of generated images, against the z from
      which they were drawn; also the same for the VAE's own decodings, from `ranking`.
    - frechet_distance, kernel_distance, precision, recall of generated and of training images against test
      images, in each feature space, with equal n; the values of training images are the best possible.
    - fine_detail of generated and of training images, against test images, and layer_continuity of all three,
      if they are scans of layers (see `covary.quality.layers`).
    - mse and ssim of reconstructions of test images, by the VAE and by the generator.
    - nearest_mse of generated images and, for comparison, of test images, against training images.
      A value of generated images far below that of test images is a sign of copies.
    """
    rows = [
        *_read_back(z, z_read, ranking, readback_draws),
        *(row for space in spaces for row in _distances(images, space)),
        *(_layers(images) if are_scans else ()),
        *_reconstruction("vae", images.vae_input, images.vae_reconstructions),
        *_reconstruction("generator", images.generator_input, images.generator_reconstructions),
    ]
    for of, some in (("generated", images.generated), ("test images", images.real_test)):
        some = _spread(some, _NEAREST_IMAGES)
        median = float(np.median(nearest_by_pixels(some, images.real_train)[1]))
        rows.append(("nearest_mse", of, "training images", "", None, len(some), median))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"latent": "Int64"})


def _read_back(z: np.ndarray, z_read: np.ndarray, ranking: pd.DataFrame, readback_draws: int) -> list[tuple]:
    rows, of_generated = [], readback_r2(z, z_read)
    for latent, of_vae in ranking.loc[ranking["active"], ["latent", "readback_r2"]].itertuples(index=False):
        rows.append(("readback_r2", "generated", "z", "", latent, len(z), float(of_generated[latent])))
        rows.append(("readback_r2", "vae decodings", "z", "", latent, readback_draws, of_vae))
    return rows


def _distances(images: ImageSets, space: FeatureSpace) -> list[tuple]:
    n = min(len(images.real_test), len(images.generated), len(images.real_train))
    test = space.of(_spread(images.real_test, n))
    rows = []
    for of, some in (("generated", images.generated), ("training images", images.real_train)):
        features = space.of(_spread(some, n))
        precision, recall = precision_and_recall(test, features)
        measures = {
            "frechet_distance": frechet_distance(features, test),
            "kernel_distance": kernel_distance(features, test),
            "precision": precision,
            "recall": recall,
        }
        rows += [(name, of, "test images", space.name, None, n, value) for name, value in measures.items()]
    return rows


def _layers(images: ImageSets) -> list[tuple]:
    n = min(len(images.real_test), len(images.generated), len(images.real_train))
    test = _spread(images.real_test, n)
    rows = [("layer_continuity", "test images", "", "", None, n, layer_continuity(test))]
    for of, some in (("generated", images.generated), ("training images", images.real_train)):
        some = _spread(some, n)
        rows.append(("fine_detail", of, "test images", "", None, n, fine_detail(some, test)))
        rows.append(("layer_continuity", of, "", "", None, n, layer_continuity(some)))
    return rows


def _reconstruction(by: str, real: np.ndarray, drawn: np.ndarray) -> list[tuple]:
    of = f"{by} reconstructions"
    return [
        ("mse", of, "test images", "", None, len(real), mean_squared_error(real, drawn)),
        ("ssim", of, "test images", "", None, len(real), structural_similarity(real, drawn)),
    ]


def _spread(images: np.ndarray, n: int) -> np.ndarray:
    return images[spread(len(images), n)]
