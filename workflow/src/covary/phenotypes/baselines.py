"""What a profile must beat: features of cells that need no training."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, UInt8
from scipy import ndimage
from sklearn.decomposition import PCA

from covary.phenotypes.profiles import features_of
from covary.training.device import place
from covary.training.draws import seeded
from covary.vae import VAE, encode

_PCA_PX = 2  # every second pixel
_COMPONENTS = 50
_BRIGHT = 128  # of 255

Images = UInt8[np.ndarray, "n c h w"]
Split = dict[str, Float[np.ndarray, "n feature"]]  # features of the train and of the test images


def mean_intensities(images: dict[str, Images]) -> Split:
    """Mean of each channel."""
    return {split: of.mean(axis=(2, 3)) for split, of in images.items()}


def pixel_components(images: dict[str, Images], seed: int) -> Split:
    """The first 50 principal components of the pixels, on half the resolution, learned on training images."""
    flat = {
        split: of[:, :, ::_PCA_PX, ::_PCA_PX].reshape(len(of), -1).astype(np.float32)
        for split, of in images.items()
    }
    count = min(_COMPONENTS, *flat["train"].shape)
    pca = PCA(count, svd_solver="randomized", random_state=seed).fit(flat["train"])
    return {split: pca.transform(pixels).astype(float) for split, pixels in flat.items()}


def shapes(images: dict[str, Images]) -> Split:
    """Simple measures of what is bright in each channel.

    For each channel: its area, its length over its width (from second moments), how far it spreads, and its
    number of pieces.
    """
    return {
        split: np.array([[value for channel in image for value in _shape(channel)] for image in of])
        for split, of in images.items()
    }


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


def random_network(images: dict[str, Images], trained: VAE, seed: int) -> Split:
    """Latents of the trained network's architecture with random weights."""
    with seeded(seed, "phenotypes/random_network"):
        untrained = place(VAE(**trained.arguments)).eval()
    return {split: encode(untrained, of)[0].astype(float) for split, of in images.items()}
