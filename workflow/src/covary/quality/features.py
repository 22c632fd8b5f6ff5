"""Feature spaces in which sets of images are compared. Every distance is reported with its space's name."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torchvision.models import inception_v3

from covary.errors import UserError
from covary.images.pixels import to_unit_range
from covary.jobs.resources import sha256
from covary.training.device import device_of, fixed_threads, place
from covary.vae import VAE

log = logging.getLogger(__name__)

_BATCH = 64
_INCEPTION_PX = 299
_IMAGENET_MEAN, _IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class FeatureSpace:
    """A map from images to vectors."""

    name: str
    of: Callable[[UInt8[np.ndarray, "n c h w"]], Float32[np.ndarray, "n feature"]]


def encoder_features(vae: VAE) -> FeatureSpace:
    """The last feature maps of the image VAE's own encoder, averaged over the image.

    The features are specific to the images of one experiment. Distances cannot be compared across
    experiments.
    """
    vae.eval()
    size_px = vae.arguments["size_px"]
    return FeatureSpace(
        "vae_encoder", lambda images: features_of(vae, images, vae.view, vae.features, size_px)
    )


def inception_features(path: Path) -> FeatureSpace:
    """The pooled features of Inception v3 with the weights in a local file of torchvision's layout.

    These are not the weights that define FID, so no distance in this space may be called FID. The name of the
    space has the first eight digits of the file's SHA-256. Three channels are taken as colours. With any
    other number, their mean is taken as grey. Raises UserError, which names the file, if it is missing or
    holds other weights.
    """
    if not path.is_file():
        raise UserError(
            f"quality.inception_file: {path}: no such file; expected torchvision's weights of Inception v3 "
            "(`make download RESOURCE=inception_v3`), or null"
        )
    network = inception_v3(weights=None, aux_logits=True, transform_input=False, init_weights=False)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"quality.inception_file: {path}: not Inception v3: {reason}") from None
    network.fc = nn.Identity()
    network = place(network.requires_grad_(False)).eval()
    mean, sd = (torch.tensor(values)[:, None, None] for values in (_IMAGENET_MEAN, _IMAGENET_SD))

    def prepare(x: Tensor) -> Tensor:
        colours = x if x.shape[1] == 3 else x.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        return (colours - mean.to(x.device)) / sd.to(x.device)

    name = f"inception_v3 {sha256(path)[:8]}"
    return FeatureSpace(name, lambda images: features_of(network, images, prepare, network, _INCEPTION_PX))


def feature_spaces(vae: VAE, inception_file: str | None) -> list[FeatureSpace]:
    """The space of the encoder and, if a file is given, that of Inception. Raises as `inception_features`."""
    given = [] if inception_file is None else [inception_features(Path(inception_file))]
    return [encoder_features(vae), *given]


def read_back(vae: VAE, images: UInt8[np.ndarray, "n c h w"]) -> Float32[np.ndarray, "n latent"]:
    """Posterior mean of images of any size."""
    vae.eval()
    return features_of(vae, images, vae.view, lambda x: vae.encode(x)[0], vae.arguments["size_px"])


def readback_r2(
    z: Float[np.ndarray, "n latent"], z_read: Float[np.ndarray, "n latent"]
) -> Float[np.ndarray, " latent"]:
    """R² of each latent: 1 - E(z - z_read)² / Var z. It is below 0 where the mean would be a better guess."""
    return np.array(
        [1 - np.square(one - read).mean() / one.var() for one, read in zip(z.T, z_read.T, strict=True)]
    )


def resized(x: Tensor, size_px: int) -> Tensor:
    """Images at another size, without aliasing; the very tensor if they have it."""
    if x.shape[-1] == size_px:
        return x
    return nn.functional.interpolate(x, size=(size_px, size_px), mode="bilinear", antialias=True)


@fixed_threads(1)
@torch.no_grad()
def features_of(
    network: nn.Module,
    images: UInt8[np.ndarray, "n c h w"],
    prepare: Callable[[Tensor], Tensor],
    features: Callable[[Tensor], Tensor],
    size_px: int,
) -> Float32[np.ndarray, "n feature"]:
    """What `features` says of images that were brought to `size_px` and prepared, in batches."""
    device = device_of(network)
    parts = [
        features(prepare(resized(to_unit_range(images[i : i + _BATCH], device), size_px)))
        for i in range(0, len(images), _BATCH)
    ]
    return torch.cat(parts).float().cpu().numpy()
