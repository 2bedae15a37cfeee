"""Half of the weights in blocks of 4 outputs x 16 inputs, of 4 bits each.

After "GQSA: Group Quantization and Sparsity for Accelerating Large Language Model Inference": what is pruned is what
shares a scale, so that a pruned group costs nothing. Two things differ: groups of 4 neighbouring outputs go together,
which share the activations that they read, and integers are symmetric, without a zero point. Its two stages of training
(blocks, then scales end to end) are not part of this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesparse.decoder.pack_qb4 import DENOMINATORS, ZERO, blocks_w, fit
from edgesparse.errors import InputError
from edgesparse.types import Array

ROWS, GROUP = 4, 16
MOST_INPUTS = GROUP << 16
"""The number of a group has 16 bits."""
WHOLE = (*DENOMINATORS, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0)
"""With those by which the scale of integers is found again, whatever the largest of them is."""
_TRIES = 8
_DENSE = "compile this layer as dense int4"


@dataclass(frozen=True, slots=True)
class Blocks:
    """What is kept of a matrix (outputs, inputs), by groups of 4 outputs, then by input.

    ``u``: (kept, 4, 16), 0..15; ``scale``: (kept, 4), halves; ``column``: (kept,), which 16 inputs; ``start``:
    (outputs / 4 + 1,), where the blocks of a group of outputs begin. Weights are ``scale * (u - 8)``.
    """

    u: NDArray[np.uint8]
    scale: NDArray[np.float16]
    column: NDArray[np.uint16]
    start: NDArray[np.int32]
    outputs: int
    inputs: int

    @property
    def w(self) -> NDArray[np.uint8]:
        """As ``blocks_qb4`` reads them."""
        return blocks_w(self.u)

    @property
    def bytes(self) -> int:
        return self.u.size // 2 + self.scale.nbytes + self.column.nbytes + self.start.nbytes

    @property
    def bits(self) -> float:
        """Stored bits for each weight of the whole matrix."""
        return 8 * self.bytes / (self.outputs * self.inputs)

    @property
    def sparsity(self) -> float:
        """The share of blocks that are gone."""
        return 1 - len(self.u) / ((len(self.start) - 1) * -(-self.inputs // GROUP))

    def dense(self) -> NDArray[np.float32]:
        """The weights that these stand for, with zeros."""
        groups, columns = len(self.start) - 1, -(-self.inputs // GROUP)
        whole = np.zeros((groups, columns, ROWS, GROUP), np.float32)
        group = np.repeat(np.arange(groups), np.diff(self.start))
        whole[group, self.column] = (self.u.astype(np.float32) - ZERO) * self.scale.astype(np.float32)[:, :, None]
        flat = whole.transpose(0, 2, 1, 3).reshape(groups * ROWS, columns * GROUP)
        return np.ascontiguousarray(flat[: self.outputs, : self.inputs])


def gqsa(weight: Array, inverse: Array | None = None, sparsity: float = 0.5) -> Blocks:
    """Prune the blocks of ``weight`` (outputs, inputs) that matter least, and quantise the others.

    A block matters as much as the sum of ``w[o, j]^2 / inverse[j]``, the saliency of "optimal brain" pruning: what the
    outputs' squared error grows by without that weight (the others are not adjusted here). ``inverse``: (inputs,), the
    diagonal of the inverse Hessian, see `inverse_diagonal`; without one all inputs count the same. Blocks compete
    within the whole matrix.

    Raises:
        InputError: a sparsity outside of [0, 1), too many inputs, weights or ``inverse`` that are no positive numbers.
    """
    outputs, inputs = weight.shape
    where = f"{outputs} x {inputs} weights"
    if not 0 <= sparsity < 1:
        raise InputError(f"a sparsity of {sparsity:g} is not in [0, 1)", where=where, hint="0.5 is a good start")
    if inputs > MOST_INPUTS:
        raise InputError(f"more than {MOST_INPUTS} inputs", where=where, hint=_DENSE)
    blocks = in_blocks(weight)
    score = np.square(blocks, dtype=np.float64)
    if inverse is not None:
        if inverse.shape != (inputs,) or not (np.isfinite(inverse) & (inverse > 0)).all():
            raise InputError(
                f"the inverse Hessian's diagonal has to be {inputs} positive numbers", where=where,
                hint="collect more calibration text, or damp the Hessian more",
            )  # fmt: skip
        by = np.pad(inverse.astype(np.float64), (0, -inputs % GROUP), constant_values=1.0)
        score = score / by.reshape(1, -1, 1, GROUP)
    score = score.sum(axis=(2, 3))
    gone = int(sparsity * score.size)
    keep = np.ones(score.size, bool)
    keep[np.argsort(score, axis=None, kind="stable")[:gone]] = False
    return _stored(blocks, keep.reshape(score.shape), DENOMINATORS, outputs, inputs)


def blocks_of(weight: Array) -> Blocks:
    """``weight`` (outputs, inputs) without the blocks that are zero. What is a scale of 16 bits times integers from -8
    to 7 already stays as it is.

    Raises:
        InputError: too many inputs, or weights without a scale.
    """
    outputs, inputs = weight.shape
    if inputs > MOST_INPUTS:
        raise InputError(f"more than {MOST_INPUTS} inputs", where=f"{outputs} x {inputs} weights", hint=_DENSE)
    blocks = in_blocks(weight)
    return _stored(blocks, _nonzero(blocks), WHOLE, outputs, inputs)


def zero_share(weight: Array) -> float:
    """Of the blocks of ``weight`` (outputs, inputs), those that are zero."""
    return 1 - float(_nonzero(in_blocks(weight)).mean())


def _nonzero(blocks: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(blocks.any(axis=(2, 3)), np.bool_)


def _stored(
    blocks: NDArray[np.float32], keep: NDArray[np.bool_], denominators: tuple[float, ...], outputs: int, inputs: int
) -> Blocks:
    group, column = np.nonzero(keep)
    v, scale = fit(blocks[group, column].reshape(-1, GROUP), denominators)
    start = np.concatenate([[0], np.cumsum(keep.sum(axis=1))]).astype(np.int32)
    u = (v + ZERO).astype(np.uint8).reshape(-1, ROWS, GROUP)
    return Blocks(u, scale.reshape(-1, ROWS), column.astype(np.uint16), start, outputs, inputs)


def in_blocks(weight: Array) -> NDArray[np.float32]:
    """(outputs, inputs) -> (outputs / 4, inputs / 16, 4, 16), padded with zeros."""
    outputs, inputs = weight.shape
    padded = np.zeros((-(-outputs // ROWS) * ROWS, -(-inputs // GROUP) * GROUP), np.float32)
    padded[:outputs, :inputs] = weight
    parts = padded.reshape(len(padded) // ROWS, ROWS, -1, GROUP)
    return np.ascontiguousarray(parts.transpose(0, 2, 1, 3))


def inverse_diagonal(moments: Array, damp: float = 0.01) -> NDArray[np.float64]:
    """``[H^-1]_jj`` of ``H = moments + damp * mean(diag(moments)) * I``; inputs that were always 0 count as 1.

    ``moments``: (inputs, inputs), the mean of ``x x^T`` at calibration. Where rounding leaves no positive definite
    matrix, the damping grows tenfold.

    Raises:
        InputError: no damping helps, or there are numbers that are not finite.
    """
    h = np.array(moments, np.float64)
    if not np.isfinite(h).all():
        raise InputError("the calibration's moments are not finite", hint="look for infinities in the activations")
    dead = np.diag(h) <= 0
    h[dead, dead] = 1.0
    mean = float(np.diag(h).mean())
    for attempt in range(_TRIES):
        damped = h + np.eye(len(h)) * (damp * 10**attempt * mean)
        try:
            factor = np.linalg.inv(np.linalg.cholesky(damped))
        except np.linalg.LinAlgError:
            continue
        return np.asarray(np.square(factor).sum(axis=0))
    raise InputError("the calibration's moments have no inverse", hint="collect more calibration text")
