"""The contract ``convert``, f32 to f16 and back: `edgesparse.precision` inserts it, no ONNX operator lowers to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgesparse.ops.operator import Contract, register, spans
from edgesparse.types import DTYPES, Array, Attr, TensorSpec


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    """Rounded to the nearest, infinite from 65520 on."""
    with np.errstate(over="ignore"):
        return [inputs[0].astype(DTYPES[outputs[0].dtype]).reshape(outputs[0].buffer_shape)]


register(Contract("convert", ("x",), ("y",), reference, items=lambda a: spans(a["size"])))
