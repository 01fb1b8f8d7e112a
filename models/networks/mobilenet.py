"""MobileNetV2 for 32×32 pictures: Sandler et al., MobileNetV2: Inverted Residuals (CVPR 2018)."""
from torch import nn
from torch.nn import functional as F

from models.networks.units import Average, Input, Network, Sum, conv_norm, initialise, scaled

# Expansion, channels, blocks, first stride: the paper's table 2, but stride 1 where 32×32 pictures have no pixels to
# spare (the stem and the second row).
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class InvertedResidual(nn.Module):
    """1×1 expansion, 3×3 depthwise, 1×1 projection: [n, c_in, h, w] → [n, c_out, h/stride, w/stride].

    Where the shapes are the same, the input is added.
    """

    def __init__(self, c_in, c_out, stride, expansion):
        super().__init__()
        wide = c_in * expansion
        self.expand = conv_norm(c_in, wide, 1, F.relu6) if expansion > 1 else nn.Sequential()
        self.depthwise = conv_norm(wide, wide, 3, F.relu6, stride, groups=wide)
        self.project = conv_norm(wide, c_out, 1)
        self.sum = Sum() if stride == 1 and c_in == c_out else None

    def forward(self, x):
        out = self.project(self.depthwise(self.expand(x)))
        return self.sum(x, out) if self.sum else out


class MobileNetV2(nn.Module):
    """Seventeen inverted residuals between two convolutions: pictures [n, 3, h, w] → logits [n, num_classes]."""

    def __init__(self, num_classes, width=1):
        super().__init__()
        c_in, last = scaled(32, width), scaled(1280, width)
        self.input = Input()
        self.stem = conv_norm(3, c_in, 3, F.relu6)
        blocks = []
        for expansion, channels, count, stride in STAGES:
            for number in range(count):
                c_out = scaled(channels, width)
                blocks.append(InvertedResidual(c_in, c_out, stride if number == 0 else 1, expansion))
                c_in = c_out
        self.blocks = nn.Sequential(*blocks)
        self.head = conv_norm(c_in, last, 1, F.relu6)
        self.pool = Average()
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(last, num_classes)
        initialise(self)

    def forward(self, x):
        x = self.head(self.blocks(self.stem(self.input(x))))
        return self.classifier(self.dropout(self.pool(x)))


MOBILENETV2 = Network(MobileNetV2, source="Sandler et al., CVPR 2018")
