"""Training with a fixed mask: exact zeros after every step, names of a recipe, and what is exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgesparse as es
from edgesparse.errors import InputError
from edgesparse.patterns import parse_pattern
from edgesparse.sparsity.recipe import LayerRecipe, Recipe, write_recipe
from tests.conftest import require

HALF = LayerRecipe(pattern="block:4x1", sparsity=0.5)


@pytest.fixture(autouse=True)
def torch_is_there() -> None:
    require("torch")


def network() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip


def train(net: Any, optimizer: Any, steps: int, seed: int = 0) -> None:
    import torch

    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn((8, 2, 6, 6), generator=generator)
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()


def largest(weight: Any, pattern: str, sparsity: float) -> Any:
    """The mask, from the definition: blocks of four rows by the sum of their magnitudes."""
    array = np.abs(weight.detach().numpy())
    blocks = array.reshape(-1, 4, *array.shape[1:]).sum(axis=1)
    kept = np.ones(blocks.size, bool)
    kept[np.argsort(blocks.reshape(-1), kind="stable")[: round(sparsity * blocks.size)]] = False
    return np.repeat(kept.reshape(blocks.shape), 4, axis=0)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_pruned_weights_and_their_momenta_stay_zero(name: str) -> None:
    import torch

    net = network()
    wanted = largest(net[3].weight, "block:4x1", 0.5)
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)(net.parameters(), lr=0.1, **options)
    train(net, optimizer, 2)  # there is momentum already
    net[3].load_state_dict(network()[3].state_dict())
    masks = es.torch_masks(net, {"3.weight": HALF}, optimizer)
    np.testing.assert_array_equal(masks.masks["3.weight"].numpy(), wanted)
    assert masks.zeros() == {"3.weight": (48, 96)}
    for _ in range(3):
        train(net, optimizer, 1)
        assert not net[3].weight.detach().numpy()[~wanted].any()
        for key, buffer in optimizer.state[net[3].weight].items():
            if key != "step":
                assert not buffer.numpy()[~wanted].any(), key
    assert np.count_nonzero(net[3].weight.detach().numpy()) == 48
    assert np.count_nonzero(net[0].weight.detach().numpy()) == net[0].weight.numel(), "the others stay dense"
    masks.detach()
    train(net, optimizer, 1)
    assert net[3].weight.detach().numpy()[~wanted].any()


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 9), columns=st.integers(1, 9), sparsity=st.floats(0, 0.99),
    pattern=st.sampled_from(["unstructured", "block:2x1", "block:4x1", "block:4x2"]),
)  # fmt: skip
def test_the_count_of_zeros_is_exact(rows: int, columns: int, sparsity: float, pattern: str) -> None:
    import torch

    net = torch.nn.Linear(columns, rows)
    masks = es.torch_masks(net, {"weight": LayerRecipe(pattern=pattern, sparsity=sparsity)})
    units = parse_pattern(pattern).units((rows, columns))
    zero_units = min(int(np.floor(sparsity * np.prod(units) + 0.5)), int(np.prod(units)) - 1)
    (zeros, size) = masks.zeros()["weight"]
    assert size == rows * columns and np.count_nonzero(net.weight.detach().numpy()) == size - zeros
    if pattern == "unstructured":
        assert zeros == zero_units
    else:
        height, width = (int(x) for x in pattern.partition(":")[2].split("x"))
        assert zero_units <= zeros <= zero_units * height * width


def test_a_gradual_schedule() -> None:
    import torch

    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    plan = es.Gradual(steps=8, begin=2, every=2)
    masks = es.torch_masks(net, {"3": HALF}, optimizer, schedule=plan)
    found = []
    for _ in range(14):
        train(net, optimizer, 1)
        weight = net[3].weight.detach().numpy()
        assert not weight[~masks.masks["3.weight"].numpy()].any()
        found.append(24 - np.count_nonzero(weight.reshape(3, 4, 8).any(axis=1)))
    # 24 blocks, half of them; t - 2 is 2, 4, 6, 8 of 8: 1 - (3/4)^3 = 37/64, 7/8, 63/64, 1 of twelve
    wanted = [0, 0, 0, 7, 7, 11, 11, 12, 12, 12, 12, 12, 12, 12]
    assert found == wanted


def test_state_dicts() -> None:
    import torch

    net = network()
    keys = list(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    masks = es.torch_masks(net, {"3": HALF}, optimizer)
    train(net, optimizer, 3)
    assert list(net.state_dict()) == keys
    network().load_state_dict(net.state_dict())
    other = network()
    resumed = es.torch_masks(other, {"3": HALF})
    other[3].weight.data.uniform_(1, 2)
    resumed.load_state_dict(masks.state_dict())
    assert resumed.step == 3
    np.testing.assert_array_equal(resumed.masks["3.weight"].numpy(), masks.masks["3.weight"].numpy())
    assert np.count_nonzero(other[3].weight.detach().numpy()) == 48
    with pytest.raises(InputError, match="masks of other parameters"):
        es.torch_masks(net, {"7": LayerRecipe(pattern="unstructured", sparsity=0.5)}).load_state_dict(
            masks.state_dict()
        )


def test_a_recipe_by_nodes_and_what_is_exported(tmp_path: Path) -> None:
    """From the network's ONNX to a recipe, back to its parameters, and to an ONNX file with the zeros in it."""
    import torch

    net, x = network(), torch.zeros(1, 2, 6, 6)
    dense = es.export(net, x)
    nodes = {v.name: n.name for n in dense.graph for v in n.inputs if v is not None and n.op_type in ("Conv", "Gemm")}
    last = LayerRecipe(pattern="unstructured", sparsity=0.4)
    recipe = Recipe(layers={nodes["3.weight"] or "": HALF, "7": last})
    write_recipe(tmp_path / "recipe.json", recipe)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    masks = es.torch_masks(net.train(), tmp_path / "recipe.json", optimizer, exported=dense)
    assert masks.zeros() == {"3.weight": (48, 96), "7.weight": (24, 60)}
    train(net, optimizer, 3)
    model = es.export(net, x)
    from edgesparse.passes.pipeline import simplify
    from edgesparse.passes.weights import find_weights

    simplify(model)
    zeros = [w.array().size - np.count_nonzero(w.array()) for w in find_weights(model)]
    assert zeros == [0, 48, 24]


def nan() -> Any:
    net = network()
    net[3].weight.data[0, 0] = float("nan")
    return net


@pytest.mark.parametrize(
    ("make", "recipe", "options", "what", "hint"),
    [
        (network, {"nowhere": HALF}, {}, "the recipe names 'nowhere', which is no weight of Sequential", "exported="),
        (network, {"1": HALF}, {}, "BatchNorm2d is neither linear nor a convolution", ""),
        (nan, {"3": HALF}, {}, "it holds NaN", ""),
        (network, {"3": HALF, "3.weight": HALF}, {}, "two layers of the recipe are the parameter '3.weight'", ""),
        (network, {"3": LayerRecipe(pattern="nm:2:4", sparsity=0.5)}, {"schedule": es.Gradual(5)}, "cannot grow", ""),
        (network, {"3": HALF}, {"schedule": es.Gradual(0)}, "a schedule cannot be", "1 or more"),
        (network, {"3": LayerRecipe(pattern="fly", sparsity=0.5)}, {}, "unknown pattern 'fly'", "known"),
        (dict, {}, {}, "not a torch.nn.Module but dict", "es.torch_masks"),
    ],
)
def test_errors(make: Any, recipe: dict[str, LayerRecipe], options: dict[str, Any], what: str, hint: str) -> None:
    with pytest.raises(InputError) as error:
        es.torch_masks(make(), recipe, **options)
    assert what in error.value.what and hint in error.value.hint
