"""Networks that predict random effects from an image."""

from covary.resnet import GreyResNet18
from covary.training import SavedModule


class ResNet18(SavedModule, GreyResNet18):
    """ResNet-18 with one input channel, any width and one output for each random effect."""

    def __init__(self, random_effects: int, width: int):
        SavedModule.__init__(self, random_effects=random_effects, width=width)
        self.build(width, random_effects)
