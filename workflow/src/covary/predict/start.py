"""Layers of a predictor that were trained before, on other images, as a start for a shorter training.

Layers that have learned to read something else from many images of the same kind are a better start than
random weights. Only the last layer, which gives the random effects, starts anew.
"""

from pathlib import Path

from covary.config.predictors import Predictor
from covary.predict.network import PredictorNetwork
from covary.training.weights import read_weights

KEY, INSTEAD = "predictors.start", "set the key to null to start from random weights"
_BODY = "body."
_LAST = {"fc.weight", "fc.bias"}


def start_from(network: PredictorNetwork, config: Predictor, size_px: int, channels: int) -> None:
    """Give all layers but the last the weights of the file `config.start`.

    The images have `size_px` pixels along each side. Raises UserError if the file is missing, damaged, or
    holds a network of another shape.
    """
    expected = config.shape(size_px) | {"channels": channels}
    _, weights = read_weights(Path(str(config.start)), expected, KEY, INSTEAD)
    body = {name.removeprefix(_BODY): value for name, value in weights.items() if name.startswith(_BODY)}
    own = network.network.state_dict()
    network.network.load_state_dict(body | {name: own[name] for name in _LAST})
