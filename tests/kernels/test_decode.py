"""rope, gated and attend: one token of a decoder, beside its linear layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgesparse.ops.activation import ACTIVATIONS
from edgesparse.types import Array
from tests.kernels.cases import SIZES, Case, direct, normal
from tests.kernels.harness import EPS, kernel_test


def turned(case: Case, expected: Sequence[Array]) -> list[Array]:
    """A sum of two products, each not larger than the largest entry of its head."""
    return [3 * EPS * np.abs(case.inputs[0]).max(axis=1, keepdims=True) * np.ones_like(expected[0])]


@kernel_test("rope", bound=turned)
def test_rope(random: np.random.Generator) -> Iterator[Case]:
    for head_dim in (2, 4, 6, 8, 16, 30, 32, 48, 64, 66, 128):
        for rotary in {head_dim, head_dim // 4 * 2}:
            for interleaved in (0, 1):
                heads, angle = int(random.integers(1, 5)), random.uniform(0, 6, rotary // 2)
                x, turn = normal(random, heads, head_dim), [np.cos(angle), np.sin(angle)]
                yield direct(
                    "rope", [x, *(t.astype(np.float32) for t in turn)], [(x.shape, "f32")], heads=heads,
                    head_dim=head_dim, rotary=rotary, interleaved=interleaved,
                )  # fmt: skip


def gated(case: Case, expected: Sequence[Array]) -> list[Array]:
    """5 ulp; where 1 + erf or 1 + tanh loses digits, 2 eps of the gate, times what it is multiplied by."""
    gate, up, index = case.inputs
    factor = np.abs(up[index] if index.size else up) if up.size else np.ones(1)
    return [5 * np.spacing(np.abs(expected[0])) + 2 * EPS * np.abs(gate) * factor]


@kernel_test("gated", bound=gated)
def test_gated(random: np.random.Generator) -> Iterator[Case]:
    none = np.zeros(0, np.float32), np.zeros(0, np.int32)
    for name in ("none", "relu", "silu", "gelu", "gelu_tanh"):
        for size in (*SIZES, 200):
            gate = normal(random, size) * 3
            index = random.integers(0, 300, size).astype(np.int32)
            for up, at in (none, (normal(random, size), none[1]), (normal(random, 300), index)):
                label = f"{name} of {size}, {up.size} up, {at.size} in the list"
                yield direct(
                    "gated", [gate, up, at], [((size,), "f32")], size=size, act=ACTIVATIONS[name], label=label
                )  # fmt: skip


def attended(case: Case, expected: Sequence[Array]) -> list[Array]:
    """An error of a score is one of the logarithm of its weight; then a sum of ``count`` values."""
    (q, k, _), a = (np.abs(x.astype(np.float64)) for x in case.inputs), case.attrs
    size = a["scale"] * np.einsum("hd,hpd->hp", q, np.repeat(k, a["group"], axis=0)).max(axis=1, keepdims=True)
    relative = 2 * EPS * ((a["head_dim"] + 8) * size + a["count"] + 16)
    return [relative * case.reference([*case.inputs[:2], np.abs(case.inputs[2])])[0]]


@kernel_test("attend", bound=attended)
def test_attend(random: np.random.Generator) -> Iterator[Case]:
    shapes = (
        (64, 1, 0.0), (16, 4, 0.0), (33, 2, 2.0), (128, 2, 50.0), (5, 3, 0.0), (64, 8, 0.0), (80, 7, 3.0), (1, 6, 0.0),
    )  # fmt: skip
    for count in (*SIZES, 100):
        for head_dim, group, cap in shapes:
            kv_heads, first = int(random.integers(1, 3)), int(random.integers(0, 3))
            capacity, heads = first + count + 2, kv_heads * group
            k, v = (normal(random, kv_heads, capacity, head_dim) for _ in range(2))
            q = normal(random, heads, head_dim) * 2
            yield direct(
                "attend", [q, k, v], [((heads, head_dim), "f32")], heads=heads, group=group, head_dim=head_dim,
                capacity=capacity, first=first, count=count, scale=head_dim**-0.5, cap=cap,
            )  # fmt: skip
