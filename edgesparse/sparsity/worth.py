"""What the zeros of a pruned model are worth on a device: for each pattern one sentence, what no kernel gains from
included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgesparse.devices import load_device
from edgesparse.errors import EdgeSparseError
from edgesparse.ops.cost import FULL_SPEED_ROWS
from edgesparse.passes.weights import find_weights
from edgesparse.patterns import parse_pattern, with_rows
from edgesparse.sparsity.layer_times import Timed, layer_times
from edgesparse.tuned import tuned

if TYPE_CHECKING:
    import onnx_ir as ir

PAYS = 1.02  # so many times as fast as dense is worth a word
BETTER = 1.1  # so many times as fast as it is, and another pattern is named


@dataclass(frozen=True, slots=True)
class Worth:
    """``us`` of all ``layers`` in one pattern, and ``dense_us`` if none had a zero. ``tall_us``: what as many zeros
    would take at best, shared by `FULL_SPEED_ROWS` output channels as in the pattern ``tall``, "" where they are.
    ``winograd`` counts the layers for which dense Winograd was still faster. No ``depthwise`` kernel skips anything.
    """

    pattern: str
    device: str
    layers: int
    us: float
    dense_us: float
    measured: bool
    tall: str = ""
    tall_us: float = 0.0
    winograd: int = 0
    depthwise: bool = False

    @property
    def times(self) -> float:
        return self.dense_us / self.us if self.us else 1.0

    @property
    def verdict(self) -> str:
        layers = f"{self.layers} layer{'s' if self.layers > 1 else ''}"
        if self.depthwise:
            return f"{self.pattern} in {layers}, depthwise: no kernel skips taps there, so that no time is saved"
        gain = f"{self.times:.2f} times as fast as dense" if self.times >= PAYS else "no faster than dense"
        parts = [
            f"{self.pattern} in {layers}: {gain} on {self.device}, {'measured' if self.measured else 'estimated'}"
        ]  # fmt: skip
        if self.winograd:
            parts.append(f"{self.winograd} of them run dense as Winograd, which is faster than skipping these zeros")
        if self.tall and self.dense_us / self.tall_us >= max(BETTER * self.times, PAYS):
            parts.append(f"as many zeros as {self.tall} would be {self.dense_us / self.tall_us:.2f} times as fast")
        return "; ".join(parts)


def worth(model: ir.Model, patterns: Mapping[str, str], device: str) -> tuple[Worth, ...]:
    """Of the pruned and simplified ``model``, by the pattern that each weight was pruned to (name -> text).

    Raises:
        InputError, UnsupportedError: an unknown device, or a model that cannot be compiled.
    """
    target = load_device(device).target
    weights = [w for w in find_weights(model) if w.name in patterns]
    times = layer_times(model, weights, target, tuned(target))
    grouped: dict[tuple[str, bool], list[Timed]] = {}
    for weight in weights:
        grouped.setdefault((patterns[weight.name], weight.depthwise), []).append(times.layer(weight.name))
    return tuple(_worth(text, depthwise, device, found) for (text, depthwise), found in grouped.items())


def verdicts(model: ir.Model, patterns: Mapping[str, str], device: str) -> list[str]:
    """A sentence for each pattern, see `worth`; or why there is none, for the pruned model is good all the same."""
    try:
        return [one.verdict for one in worth(model, patterns, device)]
    except EdgeSparseError as error:
        return [f"what the zeros are worth on {device} is not known: {error.what}"]


def _worth(text: str, depthwise: bool, device: str, found: list[Timed]) -> Worth:
    chosen = [each[0].binding for one in found for each in one.candidates]
    pattern = parse_pattern(text)
    tall = "" if depthwise or pattern.rows >= FULL_SPEED_ROWS else with_rows(pattern, FULL_SPEED_ROWS).text
    return Worth(
        text, device, len(found), sum(b.predicted_us for b in chosen), sum(b.dense_us for b in chosen),
        all(one.measured for one in found), tall,
        sum(min(b.skipping_us * (1 - b.zeros), b.dense_us) for b in chosen),
        sum(any(each[0].binding.stem.startswith("winograd") for each in one.candidates) for one in found), depthwise,
    )  # fmt: skip
