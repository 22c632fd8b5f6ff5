"""The adversary: a classifier that finds the site in the hidden activations of a network (Ganin et al. 2016).

The adversary and the network are trained in turns, each with an optimiser of its own. The adversary
minimises its cross-entropy; the loss of the network has the same cross-entropy with a minus.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.modules import activation

from covary.errors import UserError

_ACTIVATIONS = tuple(
    getattr(activation, name) for name in ("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "SELU", "CELU",
                                           "GELU", "SiLU", "Mish", "Tanh", "Sigmoid", "Softplus", "Hardswish")
)  # fmt: skip


class Adversary(nn.Module):
    """A perceptron on the activations of all hidden layers together; it returns one logit per site."""

    def __init__(self, inputs: int, widths: Sequence[int], sites: int):
        super().__init__()
        self.sites = sites
        layers = [layer for pair in pairwise((inputs, *widths)) for layer in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], sites))

    def forward(self, hidden: Float[Tensor, "batch activation"]) -> Float[Tensor, "batch site"]:
        """Logits of the sites."""
        return self.layers(hidden)

    def cross_entropy(
        self, hidden: Float[Tensor, "batch activation"], site: Int64[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """What the adversary minimises."""
        return nn.functional.cross_entropy(self(hidden), site)

    def withheld(
        self, hidden: Float[Tensor, "batch activation"], site: Int64[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """What the network maximises: min(CE, log C).

        At log C the adversary knows nothing of the site. The network has no reward for a larger value, which
        it could only reach by misleading the adversary.
        """
        return self.cross_entropy(hidden, site).clamp(max=math.log(self.sites))


def observe(
    network: nn.Module, x: Float[Tensor, "batch ..."]
) -> tuple[Float[Tensor, "batch output"], Float[Tensor, "batch feature"], Float[Tensor, "batch activation"]]:
    """The output of a network, its last hidden layer, and the activations of all hidden layers.

    The last hidden layer is the input of the last linear layer. Hidden layers are the outputs of all
    activation functions that are modules; maps are averaged over the image. Raises UserError if the network
    does not end in a linear layer.
    """
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError("predictors.sites: the network must end in a linear layer, and it has none")
    last: list[Tensor] = []
    hidden: list[Tensor] = []
    hooks = [linear[-1].register_forward_pre_hook(lambda _, inputs: last.append(inputs[0]))]
    hooks += [
        module.register_forward_hook(lambda _, __, output: hidden.append(_pooled(output)))
        for module in network.modules()
        if isinstance(module, _ACTIVATIONS)
    ]
    try:
        output = network(x)
    finally:
        for hook in hooks:
            hook.remove()
    together = torch.cat(hidden, dim=1) if hidden else x.new_zeros((len(x), 0))
    return output, last[-1], together


def _pooled(values: Float[Tensor, "batch channel ..."]) -> Float[Tensor, "batch channel"]:
    return values.flatten(2).mean(dim=2) if values.ndim > 2 else values
