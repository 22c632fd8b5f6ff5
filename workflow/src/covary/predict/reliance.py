"""How far a prediction follows what a scanner does to an image."""

import numpy as np
import torch
from jaxtyping import Float, UInt8

from covary.images.pixels import to_unit_range
from covary.predict.armed import SiteNetwork
from covary.predict.combat import Line
from covary.predict.network import ENCODING, input_of
from covary.training.device import device_of, fixed_threads
from covary.vae import VAE


@fixed_threads(1)
def mark_reliance(
    network: SiteNetwork,
    kind: str,
    vae: VAE | None,
    images: UInt8[np.ndarray, "n c h w"],
    side_px: int,
    line: Line | None = None,
) -> float:
    """Mean |∂η_F/∂x| over the pixels x of the mark, over that of the other pixels.

    `kind` is the name of the network; one that sees encodings is taken together with the encoder `vae`, and
    with ComBat's `line` if it harmonises them. The mark is the square of `side_px` pixels in the lower right
    corner. 1 means that the mark counts as much as other pixels.
    """
    network.eval()
    x = to_unit_range(images, device_of(network)).requires_grad_()
    features = x
    if input_of(kind) == ENCODING:
        assert vae is not None
        features = vae.eval().encode(vae.view(x))[0]
    if line is not None:
        slope, shift = (torch.from_numpy(values).to(features) for values in line)
        features = slope * features + shift
    output = network(features).fixed
    slopes = [torch.autograd.grad(column.sum(), x, retain_graph=True)[0].abs() for column in output.T]
    mean: Float[torch.Tensor, "h w"] = torch.stack(slopes).mean(dim=(0, 1, 2))
    inside = torch.zeros_like(mean, dtype=torch.bool)
    inside[-side_px:, -side_px:] = True
    return float(mean[inside].mean() / mean[~inside].mean())
