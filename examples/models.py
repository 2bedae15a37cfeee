"""Well-known networks as torch factories, with random weights from a fixed seed.

    edgesparse export examples/models.py:mobilenet_v1 -o mobilenet_v1.onnx

Every factory returns ``(module in eval mode, example inputs)``. The shapes are those of the papers, the weights
are not trained: they measure speed and sizes, and test compilers. Activations keep a sane range through the depth,
because BatchNorm's statistics are those of the random network on random images.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Example = tuple[nn.Module, tuple[Tensor, ...]]
SEED = 0


def mobilenet_v1(width: float = 1.0, image: int = 224, classes: int = 1000) -> Example:
    """Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications"."""
    rows = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
    channels = _channels(32, width)
    layers = [_conv(3, channels, 3, stride=2)]
    for out, stride in rows:
        layers.append(_conv(channels, channels, 3, stride=stride, groups=channels))
        layers.append(_conv(channels, _channels(out, width)))
        channels = _channels(out, width)
    return _finish(nn.Sequential(*layers, *_classifier(channels, classes)), (3, image, image))


def mobilenet_v2(width: float = 1.0, image: int = 224, classes: int = 1000) -> Example:
    """Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", table 2."""
    rows = (
        (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3),
        (6, 96, 3, 1, 3), (6, 160, 3, 2, 3), (6, 320, 1, 1, 3),
    )  # fmt: skip
    return _inverted_residuals(rows, width, image, classes, head=max(1280, _channels(1280, width)))


def efficientnet_lite0(width: float = 1.0, image: int = 224, classes: int = 1000) -> Example:
    """EfficientNet-B0 without squeeze-and-excitation and with ReLU6.

    Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", table 1; the lite
    variant is from Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite".
    """
    rows = (
        (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
    )  # fmt: skip
    return _inverted_residuals(rows, width, image, classes, head=1280)


def resnet18(width: float = 1.0, image: int = 224, classes: int = 1000) -> Example:
    """He et al. 2016, "Deep Residual Learning for Image Recognition", table 1."""
    return _resnet((2, 2, 2, 2), bottleneck=False, width=width, image=image, classes=classes)


def resnet50(width: float = 1.0, image: int = 224, classes: int = 1000) -> Example:
    """He et al. 2016, table 1; strides are in the 3x3 convolutions, as in most trained weights ("ResNet v1.5")."""
    return _resnet((3, 4, 6, 3), bottleneck=True, width=width, image=image, classes=classes)


def squeezenet1_1(width: float = 1.0, image: int = 224, classes: int = 1000) -> Example:
    """Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size".

    Version 1.1 of the authors: 3x3 entry, earlier pooling. No BatchNorm; the classifier is a 1x1 convolution.
    """
    channels = _channels(64, width)
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, stride=2), nn.ReLU()]
    for squeezed, expanded, pool in (
        (16, 64, True), (16, 64, False), (32, 128, True), (32, 128, False),
        (48, 192, True), (48, 192, False), (64, 256, False), (64, 256, False),
    ):  # fmt: skip
        if pool:
            layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
        fire = _Fire(channels, _channels(squeezed, width), _channels(expanded, width))
        layers.append(fire)
        channels = 2 * _channels(expanded, width)
    head = (nn.Dropout(0.5), nn.Conv2d(channels, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return _finish(nn.Sequential(*layers, *head), (3, image, image))


def ds_cnn(channels: int = 64, classes: int = 12) -> Example:
    """Zhang et al. 2017, "Hello Edge: Keyword Spotting on Microcontrollers": DS-CNN, small, on 49x10 MFCCs."""
    layers = [_conv(1, channels, (10, 4), stride=2, padding=(5, 1))]
    for _ in range(4):
        layers += [_conv(channels, channels, 3, groups=channels), _conv(channels, channels)]
    return _finish(nn.Sequential(*layers, *_classifier(channels, classes)), (1, 49, 10))


def vit(image: int = 96, dim: int = 192, depth: int = 6, heads: int = 3, classes: int = 1000) -> Example:
    """Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale".

    The width of ViT-Tiny (Touvron et al. 2021, "Training data-efficient image transformers & distillation through
    attention"), half as deep, on small images.
    """
    return _finish(_ViT(image, 16, dim, depth, heads, classes), (3, image, image))


def _conv(
    inputs: int, outputs: int, kernel: int | tuple[int, int] = 1, stride: int = 1, groups: int = 1,
    act: type[nn.Module] | None = nn.ReLU, padding: tuple[int, int] | None = None,
) -> nn.Sequential:  # fmt: skip
    """Convolution without bias, BatchNorm, activation."""
    if padding is None:
        padding = (kernel // 2, kernel // 2) if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([act()] if act else []))


def _classifier(channels: int, classes: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)


def _channels(count: int, width: float) -> int:
    """``count * width`` as the nearest multiple of 8, but not below 90% of it (nor below 8)."""
    wanted = count * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def _inverted_residuals(
    rows: tuple[tuple[int, int, int, int, int], ...], width: float, image: int, classes: int, head: int
) -> Example:
    """``rows`` of (expansion, channels, repeats, stride of the first, kernel)."""
    channels = _channels(32, width)
    layers: list[nn.Module] = [_conv(3, channels, 3, stride=2, act=nn.ReLU6)]
    for expansion, out, repeats, stride, kernel in rows:
        for i in range(repeats):
            outputs = _channels(out, width)
            layers.append(_InvertedResidual(channels, outputs, expansion, stride if i == 0 else 1, kernel))
            channels = outputs
    layers.append(_conv(channels, head, act=nn.ReLU6))
    return _finish(nn.Sequential(*layers, *_classifier(head, classes)), (3, image, image))


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        inner = inputs * expansion
        expand = [_conv(inputs, inner, act=nn.ReLU6)] if expansion > 1 else []
        depthwise = _conv(inner, inner, kernel, stride=stride, groups=inner, act=nn.ReLU6)
        self.body = nn.Sequential(*expand, depthwise, _conv(inner, outputs, act=None))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


def _resnet(blocks: tuple[int, ...], *, bottleneck: bool, width: float, image: int, classes: int) -> Example:
    channels = _channels(64, width)
    layers: list[nn.Module] = [_conv(3, channels, 7, stride=2), nn.MaxPool2d(3, stride=2, padding=1)]
    for stage, count in enumerate(blocks):
        inner = _channels(64 * 2**stage, width)
        outputs = 4 * inner if bottleneck else inner
        for i in range(count):
            layers.append(_Residual(channels, inner, outputs, 2 if stage and i == 0 else 1, bottleneck))
            channels = outputs
    return _finish(nn.Sequential(*layers, *_classifier(channels, classes)), (3, image, image))


class _Residual(nn.Module):
    def __init__(self, inputs: int, inner: int, outputs: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        if bottleneck:
            convs = [_conv(inputs, inner), _conv(inner, inner, 3, stride=stride), _conv(inner, outputs, act=None)]
        else:
            convs = [_conv(inputs, inner, 3, stride=stride), _conv(inner, outputs, 3, act=None)]
        self.body = nn.Sequential(*convs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else _conv(inputs, outputs, stride=stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class _Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand_1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand_3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand_1x1(x)), torch.relu(self.expand_3x3(x))], dim=1)


class _Attention(nn.Module):
    """Written out with products and a softmax, so that the ONNX file holds nothing but plain operators."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, dim // heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        attention = torch.softmax(q @ k.transpose(2, 3) * self.size**-0.5, dim=-1)
        y: Tensor = self.out((attention @ v).transpose(1, 2).flatten(2))
        return y

    def _split(self, x: Tensor) -> Tensor:
        """(batch, tokens, dim) -> (batch, heads, tokens, dim / heads)"""
        return x.view(*x.shape[:2], self.heads, self.size).transpose(1, 2)


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm_1, self.attention, self.norm_2 = nn.LayerNorm(dim), _Attention(dim, heads), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        y: Tensor = x + self.mlp(self.norm_2(x))
        return y


class _ViT(nn.Module):
    def __init__(self, image: int, patch: int, dim: int, depth: int, heads: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, dim, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, dim))
        self.blocks = nn.Sequential(*(_Block(dim, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        y: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return y


def _finish(module: nn.Module, shape: tuple[int, int, int]) -> Example:
    """Draw the weights, measure BatchNorm's statistics on random images; in eval mode, with an example input."""
    random = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                # He et al. 2015, "Delving Deep into Rectifiers": the variance survives convolution and ReLU
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=random)
                if layer.bias is not None:
                    layer.bias.normal_(0.0, 0.1, generator=random)
            elif isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
                layer.weight.uniform_(0.5, 1.5, generator=random)
                layer.bias.normal_(0.0, 0.3, generator=random)
                if isinstance(layer, nn.BatchNorm2d):
                    layer.momentum = 1.0  # the statistics of one batch, not a moving average
            elif isinstance(layer, _ViT):
                layer.token.normal_(0.0, 1.0, generator=random)
                layer.position.normal_(0.0, 1.0, generator=random)
        if any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()):
            module.train()(torch.randn(8, *shape, generator=random))
    return module.eval(), (torch.randn(1, *shape, generator=random),)
