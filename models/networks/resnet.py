"""ResNets for 32×32 pictures: He et al., Deep Residual Learning for Image Recognition (CVPR 2016)."""
from torch import nn
from torch.nn import functional as F

from models.networks.units import Average, Input, Network, Norm, Sum, conv_norm, initialise, scaled


def conv(c_in, c_out, size, stride=1):
    """A convolution without bias that keeps the picture's size, divided by stride."""
    return nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, bias=False)


def shortcut(c_in, c_out, stride):
    """What a block's input passes through to be added to its output: nothing, where the shapes are the same."""
    return nn.Sequential() if stride == 1 and c_in == c_out else conv_norm(c_in, c_out, 1, stride=stride)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: [n, c_in, h, w] → [n, c_out, h/stride, w/stride]."""

    expansion = 1

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = conv(c_in, c_out, 3, stride)
        self.bn1 = Norm(c_out, F.relu)
        self.conv2 = conv(c_out, c_out, 3)
        self.bn2 = Norm(c_out)
        self.shortcut = shortcut(c_in, c_out, stride)
        self.sum = Sum(relu=True)

    def forward(self, x):
        out = self.bn1(self.conv1(x))
        return self.sum(self.bn2(self.conv2(out)), self.shortcut(x))


class Bottleneck(nn.Module):
    """1×1, 3×3 (with the stride), 1×1 convolutions and a shortcut: [n, c_in, h, w] → [n, c_out, h/stride, w/stride]."""

    expansion = 4

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        narrow = c_out // self.expansion
        self.conv1 = conv(c_in, narrow, 1)
        self.bn1 = Norm(narrow, F.relu)
        self.conv2 = conv(narrow, narrow, 3, stride)
        self.bn2 = Norm(narrow, F.relu)
        self.conv3 = conv(narrow, c_out, 1)
        self.bn3 = Norm(c_out)
        self.shortcut = shortcut(c_in, c_out, stride)
        self.sum = Sum(relu=True)

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        return self.sum(self.bn3(self.conv3(out)), self.shortcut(x))


class ResNet(nn.Module):
    """Four stages of blocks on a stride-1 stem: pictures [n, 3, h, w] → logits [n, num_classes].

    widths: the stages' channels, before a block's expansion. The default is ResNet-18.
    """

    def __init__(self, num_classes, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2), block=BasicBlock):
        super().__init__()
        self.input = Input()
        self.conv1 = conv(3, widths[0], 3)
        self.bn1 = Norm(widths[0], F.relu, nn.MaxPool2d(3, stride=2, padding=1))
        c_in = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
            layers = []
            for number in range(count):
                layers.append(block(c_in, width * block.expansion, stride=2 if stage > 1 and number == 0 else 1))
                c_in = width * block.expansion
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.pool = Average()
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(c_in, num_classes)
        initialise(self)

    def forward(self, x):
        x = self.bn1(self.conv1(self.input(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.dropout(self.pool(x)))


def _entry(blocks, block, widths=(64, 128, 256, 512)):
    def build(num_classes, width=1):
        return ResNet(num_classes, [scaled(channels, width) for channels in widths], blocks, block)

    return Network(build, source="He et al., CVPR 2016")


RESNET18 = _entry((2, 2, 2, 2), BasicBlock)
RESNET18_HALF = _entry((2, 2, 2, 2), BasicBlock, (32, 64, 128, 256))
RESNET50 = _entry((3, 4, 6, 3), Bottleneck)
