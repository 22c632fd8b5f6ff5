"""ResNet-18 for images of any size and any number of channels, at any width."""

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

_STAGE_BLOCKS = (2, 2, 2, 2)


class ResNet18(ResNet):
    """torchvision's ResNet-18 with any number of input channels, any width and any number of outputs.

    `width` is the number of channels of the first stage; at 64 the network is the ResNet-18 of the literature
    (He et al. 2016, arXiv:1512.03385), apart from its first and last layer. With `outputs` None it ends with
    the 8 · width features that the last layer would see.
    """

    def __init__(self, width: int, outputs: int | None, in_channels: int = 1):
        nn.Module.__init__(self)
        self.build(width, outputs, in_channels)

    def build(self, width: int, outputs: int | None, in_channels: int) -> None:
        """Make the layers. ResNet.__init__ fixes the width at 64, so only its methods are used."""
        self._norm_layer, self.inplanes, self.dilation, self.groups, self.base_width = (
            nn.BatchNorm2d,
            width,
            1,
            1,
            64,
        )
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        # After the maximum there are a quarter of the values to rectify; both orders give the same.
        self.relu = nn.Identity()
        self.maxpool = nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1), nn.ReLU(inplace=True))
        for i, blocks in enumerate(_STAGE_BLOCKS):
            self.add_module(
                f"layer{i + 1}", self._make_layer(BasicBlock, width * 2**i, blocks, stride=1 if i == 0 else 2)
            )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        features = width * 2 ** (len(_STAGE_BLOCKS) - 1)
        self.fc = nn.Identity() if outputs is None else nn.Linear(features, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
