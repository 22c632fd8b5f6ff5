"""Where networks are placed, and in which memory layout."""

import subprocess
import sys

import pytest
import torch

from covary.training.device import place
from covary.training.resnet import ResNet18

# In a process of its own: where memory is overwritten, the process dies.
_STEPS = """
import torch
from covary.training.device import place
from covary.training.resnet import ResNet18
torch.set_num_threads(1)
network = place(ResNet18({width}, 3))
for _ in range(40):
    network(torch.rand(4, 1, 32, 32)).square().sum().backward()
"""


@pytest.mark.parametrize(("width", "last"), [(8, True), (64, True), (4, False), (12, False)])
def test_channels_are_last_where_all_convolutions_bear_it(width, last):
    weights = place(ResNet18(width, 3)).conv1.weight
    other = torch.empty_like(weights, memory_format=torch.channels_last)
    assert (weights.stride() == other.stride()) == last


def test_narrow_networks_learn_on_every_processor():
    steps = subprocess.run([sys.executable, "-c", _STEPS.format(width=4)], capture_output=True, text=True)
    assert steps.returncode == 0, steps.stderr
