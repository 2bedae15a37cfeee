"""Cast and CastLike between f32, i64, i32, i8, u8 and bool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgesparse.ops.arguments import same_shape
from edgesparse.ops.operator import Contract, Lowering, Operator, register
from edgesparse.types import DTYPES, Array, Attr, Node, TensorSpec

# The numbers of kernels_common/cast.h.
CAST = {"f32": 0, "i64": 1, "i32": 2, "i8": 3, "u8": 4, "bool": 5}


def cast(node: Node, out: Lowering, x: TensorSpec, target: str, dtype: str) -> None:
    """Emit ``target = x as dtype``: a call, or a view when it is that type already."""
    if x.dtype == dtype:
        out.view(node, x.name, target)
        return
    out.call(node, "cast", [x.name], [target], size=x.size, to=CAST[dtype])


def lower(node: Node, out: Lowering) -> None:
    x = node.inputs[0]
    assert x is not None
    cast(node, out, x, node.outputs[0].name, node.outputs[0].dtype)


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    """Floats are cut towards zero; what does not fit becomes the nearest number, NaN becomes 0."""
    x, dtype = inputs[0], DTYPES[outputs[0].dtype]
    if x.dtype.kind == "f" and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        # 2^63 - 1 is no double: compare with the first number that does not fit
        wide = np.trunc(np.where(np.isnan(x), 0.0, x.astype(np.float64)))
        high, low = wide >= float(limits.max) + (limits.bits < 64), wide <= float(limits.min)
        y = np.where(high | low, 0, wide).astype(dtype)
        y = np.where(high, dtype.type(limits.max), np.where(low, dtype.type(limits.min), y))
    else:
        y = x.astype(dtype)
    return [y.reshape(outputs[0].shape)]


register(
    Contract("cast", ("x",), ("y",), reference),
    *(
        Operator(
            name, same_shape, lower, "f32, i64, i32, i8, u8, bool; floats saturate, NaN becomes 0", kernels=("cast",)
        )
        for name in ("Cast", "CastLike")
    ),
)
