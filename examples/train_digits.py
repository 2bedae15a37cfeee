"""Train the small digit classifier of the quickstart: scikit-learn's 8x8 digits, a minute on two cores.

    pip install '.[examples]' && python examples/train_digits.py

writes ``digits.onnx`` and ``digits_test.npz`` (200 images that were not trained on) beside this file. And

    edgesparse whatif examples/digits.onnx --patterns block:4x1 --sparsity 0.9 --recipe recipe.json
    python examples/train_digits.py --recipe recipe.json --output digits_sparse.onnx

trains on from there with nine of ten blocks at zero, and writes a network that `edgesparse compile` takes as it is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import edgesparse as es

HERE = Path(__file__).parent
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


def train(images: Tensor, labels: Tensor, seed: int = SEED) -> nn.Sequential:
    torch.manual_seed(seed)
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


def fine_tune(
    net: nn.Sequential, images: Tensor, labels: Tensor, recipe: str | Path, epochs: int = EPOCHS, seed: int = SEED
) -> None:
    """Train ``net`` on, in place, while the blocks that ``recipe`` names go to zero in the first half and stay there.

    Nothing but `es.torch_masks` tells this loop from one that trains a dense network. Against the dense network's
    predictions it learns beside the labels: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network".
    """
    torch.manual_seed(seed)
    steps = epochs * -(-len(images) // BATCH)
    with torch.no_grad():
        wanted = F.softmax(net(images), dim=1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    masks = es.torch_masks(
        net, recipe, optimizer, exported=es.load(HERE / "digits.onnx"), schedule=es.Gradual(steps=steps // 2)
    )
    net.train()
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(images)), BATCH):
            scores = net(images[batch])
            loss = F.cross_entropy(scores, labels[batch], label_smoothing=0.05) + F.cross_entropy(scores, wanted[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    masks.detach()
    net.eval()


def right_answers(net: nn.Sequential, images: Tensor, labels: Tensor) -> int:
    with torch.no_grad():
        return int((net(images).argmax(1) == labels).sum())


def load_images() -> tuple[Tensor, Tensor]:
    """(n, 1, 8, 8) in [0, 1] and (n,), in an order of their own; the first `TEST` are not to be trained on."""
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.images))
    images = (digits.images[order, None] / 16).astype(np.float32)
    return torch.from_numpy(images), torch.from_numpy(digits.target[order].astype(np.int64))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the digit classifier, or with --recipe a sparse one.")
    parser.add_argument("--recipe", type=Path, help="pattern and sparsity of each layer, for examples/digits.onnx")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first weights and the order of images")
    parser.add_argument("--output", type=Path, default=Path("digits_sparse.onnx"), help="default %(default)s")
    given = parser.parse_args(arguments)
    started = time.perf_counter()
    images, labels = load_images()
    net = train(images[TEST:], labels[TEST:], given.seed)
    print_accuracy("dense", net, images, labels, started)
    if given.recipe is None:
        write(net, images, HERE / "digits.onnx")
        np.savez_compressed(HERE / "digits_test.npz", image=images[:TEST].numpy(), labels=labels[:TEST].numpy())
        print(f"wrote {HERE / 'digits_test.npz'} ({(HERE / 'digits_test.npz').stat().st_size / 1000:.0f} kB)")
        return
    fine_tune(net, images[TEST:], labels[TEST:], given.recipe, seed=given.seed)
    print_accuracy("sparse", net, images, labels, started)
    write(net, images, given.output)


def print_accuracy(name: str, net: nn.Sequential, images: Tensor, labels: Tensor, started: float) -> None:
    right = right_answers(net, images[:TEST], labels[:TEST])
    seconds = time.perf_counter() - started
    print(f"{name}: {right} of {TEST} test images right ({right / TEST:.1%}), {seconds:.0f} s")


def write(net: nn.Sequential, images: Tensor, path: Path) -> None:
    es.save(es.export(net, images[:1]), path)
    print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
