"""What each pattern and sparsity costs each layer: the table that allocation by latency chooses from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from edgesparse.passes.weights import Weight
from edgesparse.patterns import Pattern
from edgesparse.sparsity.calibration import Samples
from edgesparse.sparsity.layer import layer_of, moments_of
from edgesparse.sparsity.magnitude_errors import ErrorTable, levels_of, magnitude_errors
from edgesparse.sparsity.masks import OBC_COLUMNS, choose
from edgesparse.sparsity.removal import remove


def error_traces(
    model: ir.Model, weights: Sequence[Weight], patterns: Sequence[Pattern], samples: Samples,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> ErrorTable:  # fmt: skip
    """The output error of each layer of the dense ``model``, from one OBC trace a pattern (see `removal`).

    Layers that have no moments, and rows too long for OBC, are measured at each level: the former by magnitude, the
    latter by SparseGPT.
    """
    table: dict[str, dict[str, dict[float, float]]] = {}
    fallback = magnitude_errors(weights, patterns)
    for number, weight in enumerate(weights):
        if on_progress is not None:
            on_progress(number, len(weights), f"error traces: {weight.nodes[0] or weight.name}")
        layer, array = layer_of(weight), weight.array()
        if layer.why_not:
            table[weight.name] = dict(fallback[weight.name])
            continue
        moments, dense = moments_of(layer, model, model, samples), layer.dense()
        start = moments.best(dense)
        table[weight.name] = {}
        for pattern in patterns:
            if pattern.refuses(array.shape, weight.depthwise):
                continue
            levels = levels_of(pattern)
            if moments.columns <= OBC_COLUMNS and pattern.separable:
                removal = remove(start, array.shape, pattern, moments)
                errors = {s: removal.error(s) if s else 0.0 for s in levels}
            else:
                errors = {0.0: 0.0}
                for s in levels[1:]:
                    choice = choose("sparsegpt", weight.name, array, dense, pattern, s, moments)
                    errors[s] = moments.error(choice.weights)
            table[weight.name][pattern.text] = errors
    return table
