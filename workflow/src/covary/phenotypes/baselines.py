"""What a profile must beat: features of cells that need no training."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Float64, UInt8
from scipy import ndimage
from sklearn.decomposition import PCA

from covary.phenotypes.orientations import Images, turned
from covary.phenotypes.profiles import features_of
from covary.training.device import place
from covary.training.draws import seeded
from covary.vae import VAE, encode

_PCA_PX = 2  # every second pixel
_COMPONENTS = 50
_BRIGHT = 128  # of 255

Features = Callable[[Images], Float[np.ndarray, "n feature"]]


def mean_intensities(images: Images) -> Float64[np.ndarray, "n c"]:
    """Mean of each channel."""
    return images.mean(axis=(2, 3))


def pixel_components(images: Images, seed: int, orientations: int) -> Features:
    """The first 50 principal components of the pixels, on half the resolution.

    They are those of `images`, of which each is in one of so many orientations.
    """
    various = np.empty_like(images)
    for orientation in range(orientations):
        various[orientation::orientations] = turned(images[orientation::orientations], orientation)
    pixels = _pixels(various)
    pca = PCA(min(_COMPONENTS, *pixels.shape), svd_solver="randomized", random_state=seed).fit(pixels)
    return lambda of: pca.transform(_pixels(of)).astype(float)


def _pixels(images: Images) -> Float32[np.ndarray, "n value"]:
    return images[:, :, ::_PCA_PX, ::_PCA_PX].reshape(len(images), -1).astype(np.float32)


def shapes(images: Images) -> Float64[np.ndarray, "n feature"]:
    """Simple measures of what is bright in each channel; they do not depend on the orientation.

    For each channel: its area, its length over its width (from second moments), how far it spreads, and its
    number of pieces.
    """
    return np.array([[value for channel in image for value in _shape(channel)] for image in images])


def _shape(channel: UInt8[np.ndarray, "h w"]) -> Float64[np.ndarray, "4"]:
    bright = channel >= _BRIGHT
    places = np.argwhere(bright).astype(float)
    if len(places) < 3:
        return np.array([len(places), 1.0, 0.0, float(bright.any())])
    short, long = np.sqrt(np.linalg.eigvalsh(np.cov(places.T)) + 1 / 12)  # of a pixel: 1/12
    return np.array([len(places), long / short, np.hypot(short, long), ndimage.label(bright)[1]])


def cell_counts(wells: pd.DataFrame) -> pd.DataFrame:
    """The wells with one feature, their number of cells."""
    return wells.drop(columns=features_of(wells)).assign(count=wells["Metadata_Count_Cells"].astype(float))


def random_network(trained: VAE, seed: int, draw: int) -> Features:
    """Latents of the trained network's architecture with random weights, of which there are many draws."""
    with seeded(seed, f"phenotypes/random_network/{draw}"):
        untrained = place(VAE(**trained.arguments)).eval()
    return latents(untrained)


def latents(network: VAE) -> Features:
    """Posterior means of a network's latents."""
    return lambda of: encode(network, of)[0]
