"""What networks of each kind see of a subject."""

from pathlib import Path

from covary.predict.network import ENCODING, input_of
from covary.predict.train import Inputs
from covary.store import Images


def read_inputs(network: str, dataset: Path, subjects: slice, digest: str) -> Inputs:
    """The images of some subjects of a dataset, or the image VAE's posterior means of their z.

    `digest` is that of all images. Raises ValueError if the VAE beside the dataset is missing.
    """
    images = Images(dataset, subjects, digest)
    if input_of(network) == ENCODING:
        from covary import vae  # takes half a second, which those who see images need not wait for

        return vae.encode(vae.VAE.load(dataset.with_name("vae")), images)[0]
    return images
