"""What a predictor sees of subjects: images, encodings or random effects, with the evidence about them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from covary.images.pixels import to_unit_range
from covary.predict.evidence import Evidence
from covary.predict.network import ENCODING, input_of
from covary.store import Images

Inputs = UInt8[np.ndarray, "n c h w"] | Images | Float[np.ndarray, "n feature"]


@dataclass(frozen=True)
class Examples:
    """What a predictor sees of some subjects, and the evidence about their random effects."""

    inputs: Inputs
    evidence: Evidence

    def __len__(self) -> int:
        return len(self.evidence)


def read_inputs(network: str, dataset: Path, subjects: slice, marker: Path) -> Inputs:
    """The images of some subjects of a dataset, or the image VAE's posterior means of their z.

    `marker` is that of all images. Raises ValueError if the VAE beside the dataset is missing.
    """
    images = Images.of(dataset, subjects, marker)
    if input_of(network) == ENCODING:
        from covary import vae  # takes half a second, which those who see images need not wait for

        return vae.encode(vae.VAE.load(dataset.with_name("vae")), images)[0]
    return images


def to_input(batch: np.ndarray, device: torch.device) -> Float[Tensor, "n ..."]:
    """Images as values 0 … 1, features as they are."""
    if batch.ndim == 4:
        return to_unit_range(batch, device)
    return torch.from_numpy(np.ascontiguousarray(batch)).float().to(device)


def content(inputs: Inputs) -> np.ndarray:
    """What tells these inputs from others: themselves, or the digest of images that are not in memory."""
    return inputs if isinstance(inputs, np.ndarray) else np.frombuffer(bytes.fromhex(inputs.digest), np.uint8)
