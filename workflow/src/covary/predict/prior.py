"""Layers of a predictor that were trained before, on other images, as a start for a shorter training.

Layers that have learned to read something else from many images of the same kind are a better start than
random weights. Only the last layer, which gives the random effects, starts anew.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from safetensors.torch import load_file

from covary.config.predictors import Predictor
from covary.predict.network import PredictorNetwork
from covary.training.shipped import read_description

KEY, INSTEAD = "predictors.prior", "set the key to null to start from random weights"
_BODY = "body."
_LAST = {"fc.weight", "fc.bias"}


def start_from(network: PredictorNetwork, config: Predictor, size_px: int, channels: int) -> None:
    """Give all layers but the last the weights of the file `config.prior`.

    The images have `size_px` pixels along each side. Raises UserError if the file is missing, damaged, or
    holds a network of another shape.
    """
    path = Path(str(config.prior))
    read_description(path, config.shape(size_px) | {"channels": channels}, KEY, INSTEAD)
    body = {
        name.removeprefix(_BODY): value.float() if value.is_floating_point() else value
        for name, value in load_file(path).items()
        if name.startswith(_BODY)
    }
    own = network.network.state_dict()
    network.network.load_state_dict(body | {name: own[name] for name in _LAST})


def content_of(prior: str | None) -> UInt8[np.ndarray, " byte"]:
    """The file of the start, as it is now; empty for random weights."""
    return np.frombuffer(Path(prior).read_bytes() if prior else b"", np.uint8)
