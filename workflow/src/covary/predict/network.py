"""Networks that predict random effects, of every kind that the configuration can name.

`resnet18`, any classifier of torchvision by its name, and `my_model.py:MyNet` see images; `linear_probe`
and `perceptron` see the image VAE's encoding of an image; `oracle` sees the random effects that the image
was drawn from.
"""

from inspect import signature
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchvision import models

from covary import plugins
from covary.errors import UserError
from covary.plugins import one_line
from covary.training.modules import SavedModule
from covary.training.resnet import ResNet18

IMAGE, ENCODING, ETA = "image", "encoding", "eta"
_ORACLE_WIDTH = 64
_KEY = "predictors.network"


def input_of(network: str) -> str:
    """What a network of this name sees: `image`, `encoding` or `eta`."""
    return {"linear_probe": ENCODING, "perceptron": ENCODING, "oracle": ETA}.get(network, IMAGE)


def check_network(network: str, random_effects: int, inputs: int, width: int) -> None:
    """Raise UserError, in one line, if a user cannot choose this network; see `PredictorNetwork`."""
    if network == "oracle":
        raise UserError(f"{_KEY}: the oracle sees the random effects, so it predicts nothing from images")
    PredictorNetwork(network, random_effects, inputs, width)


def source_of(network: str) -> UInt8[np.ndarray, " byte"]:
    """The file of a user's network, as it is now; empty for any other network."""
    file = plugins.file_of(network)
    return np.frombuffer(Path(file).read_bytes() if file else b"", np.uint8)


class PredictorNetwork(SavedModule):
    """A network of any kind and what is known of its errors: eta_hat | input ~ N(forward(input), covariance).

    `inputs` is the side of square images in pixels, or the number of features; `channels` those of images.
    Raises UserError, in one line, if there is no such network, it cannot see images of so many channels, or
    it does not turn a batch of inputs into `random_effects` numbers each.
    """

    def __init__(self, network: str, random_effects: int, inputs: int, width: int, channels: int = 1):
        super().__init__(
            network=network, random_effects=random_effects, inputs=inputs, width=width, channels=channels
        )
        self.network = _build(network, random_effects, inputs, width, channels)
        self.register_buffer("covariance", torch.eye(random_effects))
        self.register_buffer("centre", torch.zeros(random_effects))
        shape = (2, channels, inputs, inputs) if input_of(network) == IMAGE else (2, inputs)
        _check(network, self.network, shape, random_effects)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch random_effect"]:
        """Predicted random effects."""
        return self.network(x) - self.centre

    def start_at(self, bias: Float[Tensor, " random_effect"]) -> None:
        """Let the first prediction be `bias` for every input, where the network ends in a linear layer."""
        layers = [module for module in self.network.modules() if isinstance(module, nn.Linear)]
        if layers and layers[-1].out_features == len(bias) and layers[-1].bias is not None:
            nn.init.zeros_(layers[-1].weight)
            layers[-1].bias.data = bias.to(layers[-1].bias)


class _Oracle(nn.Module):
    """A line and what a small network adds to it, which is nothing at first."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.curve = nn.Sequential(
            nn.Linear(inputs, _ORACLE_WIDTH),
            nn.SiLU(),
            nn.Linear(_ORACLE_WIDTH, _ORACLE_WIDTH),
            nn.SiLU(),
            nn.Linear(_ORACLE_WIDTH, outputs, bias=False),
        )
        self.line = nn.Linear(inputs, outputs)
        nn.init.zeros_(self.curve[-1].weight)

    def forward(self, x: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch random_effect"]:
        return self.line(x) + self.curve(x)


class _Grey(nn.Module):
    """A network for colour images that is given the grey image three times."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Float[Tensor, "batch 1 h w"]) -> Float[Tensor, "batch random_effect"]:
        return self.network(x.expand(-1, 3, -1, -1))


def _build(network: str, random_effects: int, inputs: int, width: int, channels: int) -> nn.Module:
    if network == "resnet18":
        return ResNet18(width, random_effects, channels)
    if network == "linear_probe":
        return nn.Linear(inputs, random_effects)
    if network == "perceptron":
        return _perceptron(inputs, random_effects, width)
    if network == "oracle":
        return _Oracle(inputs, random_effects)
    if ":" in network:
        return _of_user(network, random_effects, channels)
    if network not in models.list_models(module=models):
        raise UserError(
            f"{_KEY}: must be resnet18, linear_probe, perceptron, a classifier of torchvision or "
            f"my_model.py:MyNet, got {network!r}"
        )
    if channels not in (1, 3):
        raise UserError(
            f"{_KEY}: {network} sees images of 1 or 3 channels, these have {channels}; choose resnet18 or "
            "my_model.py:MyNet, or select channels with images.channels"
        )
    # Transformers of this family fix the size of their images when they are made.
    options = {"image_size": inputs} if network.startswith("vit_") else {}
    of_colours = models.get_model(network, weights=None, num_classes=random_effects, **options)
    return _Grey(of_colours) if channels == 1 else of_colours


def _perceptron(inputs: int, outputs: int, width: int) -> nn.Sequential:
    """Three hidden layers of `width` units."""
    sizes = (inputs, width, width, width)
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.SiLU())]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def _of_user(name: str, random_effects: int, channels: int) -> nn.Module:
    """The user's network; it is told the number of channels if its constructor has that argument."""
    cls = plugins.load_class(name, (nn.Module,), _KEY)
    arguments = {"random_effects": random_effects}
    if "channels" in signature(cls).parameters:
        arguments["channels"] = channels
    try:
        return cls(**arguments)
    except TypeError as error:
        given = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise UserError(f"{_KEY}: {cls.__name__}({given}) cannot be made: {one_line(error)}") from error


@torch.no_grad()
def _check(name: str, network: nn.Module, shape: tuple[int, ...], random_effects: int) -> None:
    """Run the network on two inputs, without a trace in its statistics."""
    network.eval()
    try:
        output = network(torch.zeros(shape))
    except Exception as error:
        raise UserError(f"{_KEY}: {name} fails on inputs of shape {shape}: {one_line(error)}") from error
    finally:
        network.train()
    expected = (shape[0], random_effects)
    if not isinstance(output, Tensor) or tuple(output.shape) != expected:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UserError(
            f"{_KEY}: {name} must return {random_effects} numbers for each of {shape[0]} inputs, a tensor of "
            f"shape {expected}, got {got}"
        )
