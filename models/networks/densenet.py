"""DenseNet-121 for 32×32 pictures: Huang et al., Densely Connected Convolutional Networks (CVPR 2017)."""
from torch import nn
from torch.nn import functional as F

from models.networks.units import Average, Concat, Input, Network, Norm, conv_norm, initialise, scaled

BLOCKS, GROWTH = (6, 12, 24, 16), 32  # layers of each dense block, channels that a layer adds


class DenseLayer(nn.Module):
    """All features of the block so far, a list of [n, c_i, h, w] → `growth` more channels [n, growth, h, w]."""

    def __init__(self, c_in, growth):
        super().__init__()
        self.concat = Concat()
        self.norm1 = Norm(c_in, F.relu)
        self.conv1 = nn.Conv2d(c_in, 4 * growth, 1, bias=False)
        self.norm2 = Norm(4 * growth, F.relu)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features):
        x = self.norm1(self.concat(features))
        return self.conv2(self.norm2(self.conv1(x)))


class DenseBlock(nn.Module):
    """[n, c_in, h, w] → [n, c_in + layers·growth, h, w]: the input and what each layer made of all before it."""

    def __init__(self, c_in, growth, layers):
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(c_in + number * growth, growth) for number in range(layers))
        self.concat = Concat()

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return self.concat(features)


class DenseNet(nn.Module):
    """Four dense blocks, the channels and the picture halved between them: pictures [n, 3, h, w] → [n, num_classes]."""

    def __init__(self, num_classes, width=1):
        super().__init__()
        growth = scaled(GROWTH, width)
        channels = 2 * growth
        self.input = Input()
        self.stem = conv_norm(3, channels, 3, F.relu, pool=nn.MaxPool2d(3, stride=2, padding=1))
        parts = []
        for layers in BLOCKS:
            if parts:
                parts += [Norm(channels, F.relu), nn.Conv2d(channels, channels // 2, 1, bias=False), Average(2)]
                channels //= 2
            parts.append(DenseBlock(channels, growth, layers))
            channels += layers * growth
        self.features = nn.Sequential(*parts, Norm(channels, F.relu))
        self.pool = Average()
        self.classifier = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, x):
        return self.classifier(self.pool(self.features(self.stem(self.input(x)))))


DENSENET121 = Network(DenseNet, source="Huang et al., CVPR 2017")
