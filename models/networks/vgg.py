"""VGG-16 with BatchNorm for 32×32 pictures: Simonyan & Zisserman, Very Deep Convolutional Networks (ICLR 2015)."""
from torch import nn
from torch.nn import functional as F

from models.networks.units import Average, Input, Network, conv_norm, initialise, scaled

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions; each stage ends with a max-pool


class VGG(nn.Module):
    """Thirteen 3×3 convolutions and one linear layer: pictures [n, 3, h, w] → logits [n, num_classes]."""

    def __init__(self, num_classes, width=1):
        super().__init__()
        self.input = Input()
        layers, c_in = [], 3
        for channels, count in STAGES:
            channels = scaled(channels, width)
            for left in reversed(range(count)):
                # Rounding up lets a map of one pixel, where pictures are small, pass the last pools.
                pool = None if left else nn.MaxPool2d(2, ceil_mode=True)
                layers.append(conv_norm(c_in, channels, 3, F.relu, bias=True, pool=pool))
                c_in = channels
        self.features = nn.Sequential(*layers)
        self.pool = Average()
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(c_in, num_classes)
        initialise(self)

    def forward(self, x):
        return self.classifier(self.dropout(self.pool(self.features(self.input(x)))))


VGG16 = Network(VGG, source="Simonyan & Zisserman, ICLR 2015")
