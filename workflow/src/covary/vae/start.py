"""An image VAE that was trained before, on other images of the same kind, as a start for a shorter training.

Its latents keep their meaning where the new images are like the old ones.
"""

from pathlib import Path

from covary.config.vae import Vae
from covary.training.weights import read_weights, write_weights
from covary.vae.network import VAE

KEY, INSTEAD = "vae.start", "set the key to null to start from random weights"


def write_start(vae: VAE, config: Vae, size_px: int, path: Path) -> None:
    """Write the weights in half precision, for images of `size_px`, and the file's checksum beside it."""
    write_weights(vae.state_dict(), config.shape(size_px) | {"channels": vae.channels}, path)


def start_from(vae: VAE, config: Vae, size_px: int) -> None:
    """Give the network the weights of the file `config.start`.

    The images have `size_px` pixels along each side. Raises UserError if the file is missing, damaged, or
    holds a network of another shape.
    """
    expected = config.shape(size_px) | {"channels": vae.channels}
    _, weights = read_weights(Path(str(config.start)), expected, KEY, INSTEAD)
    vae.load_state_dict(weights)
