"""The perceptual terms of the paper's loss: differences of VGG16 features (arXiv:1603.08155)."""

import logging
import pickle
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import VGG16_Weights
from torchvision.models.vgg import make_layers

from covary.config.vae import Vae
from covary.errors import UserError
from covary.training.device import place
from covary.training.draws import seeded

log = logging.getLogger(__name__)

# The first 16 feature layers of VGG16: convolutions, each with its ReLU, and M for max-pooling.
_LAYERS = [64, 64, "M", 128, 128, "M", 256, 256, 256]
_RELU1_2, _RELU3_3 = slice(0, 4), slice(4, 16)
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours
_GREY_MEAN, _GREY_SD = 0.449, 0.226  # averaged over the colours


class PerceptualLoss(nn.Module):
    """Mean squared differences of the outputs of relu1_2 and relu3_3, weighted and added; never trained."""

    def __init__(self, relu1_2_weight: float, relu3_3_weight: float):
        super().__init__()
        self.weights = relu1_2_weight, relu3_3_weight
        self.features = make_layers(_LAYERS)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.ReLU):
                module.inplace = False
        self.requires_grad_(False)

    def forward(self, x: Float[Tensor, "batch c h w"], y: Float[Tensor, "batch c h w"]) -> Float[Tensor, ""]:
        """The loss between images with values 0 … 1.

        Three channels are three colours. Of any other number, each channel is an image of three equal
        colours.
        """
        both = _normalised(torch.cat([x, y]))
        relu1_2 = self.features[_RELU1_2](both)
        relu3_3 = self.features[_RELU3_3](relu1_2)
        return sum(
            weight * nn.functional.mse_loss(*output.float().chunk(2))
            for weight, output in zip(self.weights, (relu1_2, relu3_3), strict=True)
        )


def _normalised(x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch2 3 h w"]:
    """Images as VGG16 expects them."""
    if x.shape[1] == 3:
        mean, sd = (x.new_tensor(values)[:, None, None] for values in (_MEAN, _SD))
        return (x - mean) / sd
    return ((x.reshape(-1, 1, *x.shape[2:]) - _GREY_MEAN) / _GREY_SD).expand(-1, 3, -1, -1)


def perceptual_loss(config: Vae, seed: int) -> PerceptualLoss | None:
    """The loss with the weights that `config.perceptual` asks for; None if it asks for none.

    Raises UserError if the weights cannot be had or are not those of VGG16.
    """
    if config.perceptual == "none":
        return None
    with seeded(seed, "vae_perceptual_weights"):
        loss = PerceptualLoss(config.relu1_2_weight, config.relu3_3_weight)
    match config.perceptual:
        case "random":
            log.warning(
                "vae.perceptual: random: the perceptual loss has RANDOM weights, not those of ImageNet; "
                "results are not comparable with the paper's"
            )
        case "file":
            loss.features.load_state_dict(_convolutions(_read(Path(config.perceptual_file)), loss.features))
        case "torchvision":
            loss.features.load_state_dict(_convolutions(_download(), loss.features))
    return place(loss)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(
            f"vae.perceptual_file: {path}: no such file; expected weights of VGG16 (`make download "
            "RESOURCE=vgg16`), or set vae.perceptual to torchvision, random or none"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"vae.perceptual_file: {path}: not a file of weights: {reason}") from None


def _download() -> dict[str, Tensor]:
    try:
        return VGG16_Weights.IMAGENET1K_V1.get_state_dict(
            progress=False, check_hash=True, weights_only=True, map_location="cpu"
        )
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"vae.perceptual: torchvision could not download VGG16 ({' '.join(str(error).split())}); set it "
            "to `file` and vae.perceptual_file to a local copy, or to random or none"
        ) from None


def _convolutions(weights: dict[str, Tensor], features: nn.Sequential) -> dict[str, Tensor]:
    """Those of the weights that the first 16 layers have, from a whole VGG16 or from its features alone."""
    expected = features.state_dict()
    found = {key.removeprefix("features."): value for key, value in weights.items()}
    for key, value in expected.items():
        if key not in found or found[key].shape != value.shape:
            got = list(found[key].shape) if key in found else "nothing"
            raise UserError(
                f"vae.perceptual_file: not VGG16: features.{key} should be {list(value.shape)}, got {got}"
            )
    return {key: found[key] for key in expected}
