"""What a profile must beat: features of cells that need no training."""

import numpy as np
from jaxtyping import Float, UInt8
from sklearn.decomposition import PCA

from covary.training.device import place
from covary.training.draws import seeded
from covary.vae import VAE, encode

_PCA_PX = 2  # every second pixel
_COMPONENTS = 50

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


def random_network(images: dict[str, Images], trained: VAE, seed: int) -> Split:
    """Latents of the trained network's architecture with random weights."""
    with seeded(seed, "phenotypes/random_network"):
        untrained = place(VAE(**trained.arguments)).eval()
    return {split: encode(untrained, of)[0].astype(float) for split, of in images.items()}
