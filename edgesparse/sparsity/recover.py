"""Recover what pruning lost, without labels: train the weights that are left to do as the dense model does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgesparse.errors import InputError
from edgesparse.frontend import require_torch
from edgesparse.passes.pipeline import simplify
from edgesparse.passes.weights import find_weights
from edgesparse.sparsity.calibration import Samples, check_samples
from edgesparse.sparsity.record import recorded
from edgesparse.types import Array
from edgesparse.verify import check_model

if TYPE_CHECKING:
    from torch import Tensor

    from edgesparse.sparsity.distil import Head, Pairing
    from edgesparse.sparsity.torch_graph import TorchGraph

Progress = Callable[[int, int, str], None]
HELD_OUT, LEAST_SAMPLES = 0.15, 16
MATCHING_SAMPLES = 64
CORRELATED = 0.5
EPOCHS, BATCH, LEARNING_RATE, HIDDEN, TEMPERATURE, MINUTES = 400, 64, 3e-3, 1.0, 2.0, 10.0


@dataclass(frozen=True, slots=True)
class RecoverReport:
    """``loss_before`` and ``loss_after``: what the outputs differ from the teacher's on ``held_out`` samples, which
    were not trained on; ``best_epoch`` counts from 1, 0 where no epoch was better than the start.

    ``hidden`` of ``layers`` layers were compared as well, ``reordered`` of them with channels in another order;
    ``hidden_note`` says why not all. ``zeros``: the share of zeros in the pruned ``weights``, the same as before.
    """

    samples: int
    held_out: int
    epochs: int
    best_epoch: int
    loss_before: float
    loss_after: float
    losses: tuple[float, ...]
    stopped: str
    layers: int
    hidden: int
    reordered: int
    hidden_note: str
    augmentation: tuple[str, ...]
    weights: int
    zeros: float
    cpu_minutes: float


def recover(
    model: ir.Model, teacher: ir.Model, calibration: Samples | Iterable[Samples], *,
    epochs: int = EPOCHS, minutes: float | None = MINUTES, batch: int = BATCH, learning_rate: float = LEARNING_RATE,
    hidden: float = HIDDEN, temperature: float = TEMPERATURE, augment: str | Sequence[str] = "auto", seed: int = 0,
    on_progress: Progress | None = None,
) -> RecoverReport:  # fmt: skip
    """Simplify the sparse ``model``, then train its weights and biases to give ``teacher``'s outputs, in place.

    The loss is ``T^2 KL`` of the probabilities where an output is a Softmax, else the squared difference over the
    teacher's energy, and ``hidden`` times SquareHead over the outputs of all layers (`distil`). Zeros of pruned weights
    stay exactly zero. 15% of the samples only judge; the weights of the best epoch are taken, which are those of the
    start if none is better. The same arguments give the same weights on the same machine, unless ``minutes`` (of CPU
    time) end it early.

    Args:
        teacher: the dense model that ``model`` was made of; it stays as it is.
        calibration: one array per input of the model, samples stacked on axis 0, without labels; 16 or more.
        augment: "auto", "none", or some of "shift", "noise", "scale", "mix", "mask" (`augment`).

    Raises:
        InputError: torch is not installed, the models do not fit together, samples or options that cannot be used,
            or a model without zeros.
        UnsupportedError: an operator that has no torch function here.

    Source: "Sparse Finetuning for Inference Acceleration of Large Language Models".
    """
    require_torch()
    import torch

    from edgesparse.sparsity.augment import KINDS, augmenter
    from edgesparse.sparsity.distil import Distiller, Settings
    from edgesparse.sparsity.torch_graph import TorchGraph, aligned, trained_names

    began = time.process_time()
    settings = Settings(epochs, batch, learning_rate, hidden, temperature, minutes, seed)
    _check(settings)
    kinds = _kinds(augment)
    check_model(model)
    dense = check_model(teacher).clone()
    simplify(model)
    simplify(dense)
    _same_ports(model, dense)
    masks = _masks(model)
    arrays = check_samples(model, calibration)
    count = len(next(iter(arrays.values())))
    if count < LEAST_SAMPLES:
        raise InputError(
            f"{count} samples are too few", where="calibration", hint=f"give {LEAST_SAMPLES} or more, better hundreds"
        )
    samples = {name: aligned(array) for name, array in arrays.items()}
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    judging = max(4, round(HELD_OUT * count))
    held_out = {name: x[order[:judging]] for name, x in samples.items()}
    training = {name: x[order[judging:]] for name, x in samples.items()}
    student, guide = TorchGraph(model), TorchGraph(dense)
    start = {name: student.constants[name] for name in trained_names(model)}
    pairings, layers, note = ([], 0, "") if hidden == 0 else _pairings(model, dense, student, guide, training)
    augmenters = {name: augmenter(x, kinds) for name, x in training.items()}
    distiller = Distiller(
        student, guide, _heads(model, dense), pairings, {n: aligned(m) for n, m in masks.items()}, settings
    )
    trained = distiller.train(start, training, held_out, augmenters, on_progress)
    for name, value in trained.parameters.items():
        model.graph.initializers[name].const_value = ir.tensor(value.contiguous().numpy(), name=name)
    used = {k for a in augmenters.values() if a is not None for k in a.kinds}
    return RecoverReport(
        samples=count - judging,
        held_out=judging,
        epochs=len(trained.losses),
        best_epoch=trained.best + 1,
        loss_before=trained.start,
        loss_after=min((trained.start, *trained.losses)),
        losses=trained.losses,
        stopped=trained.stopped,
        layers=layers,
        hidden=len(pairings),
        reordered=sum(p.order is not None for p in pairings),
        hidden_note=note,
        augmentation=tuple(k for k in KINDS if k in used),
        weights=len(masks),
        zeros=1.0 - float(sum(m.sum() for m in masks.values()) / sum(m.size for m in masks.values())),
        cpu_minutes=(time.process_time() - began) / 60,
    )


def _check(settings: Any) -> None:
    for name, least in (("epochs", 1), ("batch", 2)):
        if getattr(settings, name) < least:
            raise InputError(f"{name} {getattr(settings, name)} is less than {least}", hint=f"give {least} or more")
    for name in ("learning_rate", "temperature", "minutes"):
        value = getattr(settings, name)
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{name} {value:g} is no positive number", hint="leave it out for the default")
    if not 0 <= settings.hidden < float("inf"):
        raise InputError(f"hidden {settings.hidden:g} is no weight", hint="0 compares outputs only")


def _kinds(augment: str | Sequence[str]) -> tuple[str, ...] | None:
    parts = tuple(augment.split(",") if isinstance(augment, str) else augment)
    return None if parts == ("auto",) else () if parts == ("none",) else parts


def _same_ports(model: ir.Model, teacher: ir.Model) -> None:
    for what in ("inputs", "outputs"):
        one, other = (
            {v.name or "": _shape(v) for v in getattr(m.graph, what) if v.name not in m.graph.initializers}
            for m in (model, teacher)
        )
        if one != other:
            raise InputError(
                f"the {what} of the sparse model are {_shown(one)}, those of the teacher {_shown(other)}",
                where="teacher", hint="the teacher is the dense model that the sparse one was made of",
            )  # fmt: skip


def _shape(value: ir.Value) -> tuple[int | str, ...]:
    """Without the batch."""
    return tuple(d if isinstance(d, int) else "?" for d in list(value.shape or ())[1:])


def _shown(ports: Mapping[str, tuple[int | str, ...]]) -> str:
    return ", ".join(f"'{name}' [n, {', '.join(map(str, shape))}]" for name, shape in ports.items())


def _masks(model: ir.Model) -> dict[str, Array]:
    """1.0 where a pruned weight (as it is stored) may be other than zero. Raises InputError where none has zeros.

    Pruned are those that `sparsify` recorded; in a model of another tool all weights that hold zeros.
    """
    weights = find_weights(model)
    named = set(recorded(model))
    pruned = [w for w in weights if named & {w.name, *w.nodes}] or weights
    found = {}
    for weight in pruned:
        assert weight.value.const_value is not None
        array = weight.value.const_value.numpy()
        if np.count_nonzero(array) == array.size:
            continue
        if array.dtype != np.float32:
            raise InputError(
                f"weight '{weight.name}' is {array.dtype}; recover trains float32", hint="recover first, convert later"
            )
        found[weight.name] = (array != 0).astype(np.float32)
    if not found:
        raise InputError(
            "no weight of the model has zeros: there is nothing to recover", where=model.graph.name or "model",
            hint="first `edgesparse sparsify` it; the sparse model is the first argument",
        )  # fmt: skip
    return found


def _heads(model: ir.Model, teacher: ir.Model) -> list[Head]:
    """Every output, or the logits of which it is the Softmax, in both models."""
    from edgesparse.sparsity.distil import Head

    found = []
    for one, other in zip(model.graph.outputs, teacher.graph.outputs, strict=True):
        a, b = one.producer(), other.producer()
        names, axis = (one.name or "", other.name or ""), None
        if a is not None and b is not None and a.op_type == b.op_type and a.op_type in ("Softmax", "LogSoftmax"):
            x, y = a.inputs[0], b.inputs[0]
            at = a.attributes.get("axis")
            if x is not None and y is not None:
                names = (x.name or "", y.name or "")
                axis = at.as_int() if at is not None else -1 if model.opset_imports.get("", 17) >= 13 else 1
        found.append(Head(*names, axis))
    return found


def _pairings(
    model: ir.Model, teacher: ir.Model, student: TorchGraph, guide: TorchGraph, samples: Mapping[str, Tensor]
) -> tuple[list[Pairing], int, str]:
    """(hidden states that belong together, of how many layers, why not of all).

    The n-th layer of one belongs to the n-th of the other. Rearranging may have given its channels another order: the
    order is that in which each channel's values go along best with the teacher's, on some samples.
    """
    import torch

    from edgesparse.sparsity.distil import Pairing
    from edgesparse.sparsity.torch_graph import hidden_names

    one, other = hidden_names(model), hidden_names(teacher)
    if len(one) != len(other):
        note = f"outputs only: the sparse model has {len(one)} layers with hidden states, the teacher {len(other)}"
        return [], max(len(one), len(other)), note
    some = {name: x[:MATCHING_SAMPLES] for name, x in samples.items()}
    with torch.no_grad():
        found = student.run(some, {}, [name for name, _ in one])
        wanted = guide.run(some, {}, [name for name, _ in other])
    pairings, unlike = [], 0
    for (a, axis), (b, _), s, t in zip(one, other, found, wanted, strict=True):
        if s.shape != t.shape:
            unlike += 1
            continue
        order, alike = match_channels(_channels(s, axis), _channels(t, axis))
        if alike < CORRELATED:
            unlike += 1
            continue
        natural = np.array_equal(order, np.arange(len(order)))
        pairings.append(Pairing(a, b, axis, None if natural else torch.from_numpy(order)))
    note = (
        f"hidden states of {unlike} of {len(one)} layers are not compared: too unlike the teacher's" if unlike else ""
    )
    return pairings, len(one), note


def _channels(values: Tensor, axis: int) -> Array:
    """(channels, all else)"""
    array: Array = values.movedim(axis, 0).flatten(1).numpy()
    return array


def match_channels(student: Array, teacher: Array) -> tuple[Array, float]:
    """(order, mean correlation): channel ``i`` of ``student`` (C, n) is channel ``order[i]`` of ``teacher``.

    The natural order unless the pairs that correlate best, taken one by one, do so clearly better. Channels that never
    change correlate with none: they fill the places that are left, in order, and do not count for the mean.
    """
    a, b = _normal(student), _normal(teacher)
    correlation = a @ b.T
    size = len(correlation)
    order = np.full(size, -1, np.int64)
    free = np.ones(size, bool)
    for flat in np.argsort(-correlation, axis=None, kind="stable"):
        row, column = divmod(int(flat), size)
        if order[row] < 0 and free[column]:
            order[row], free[column] = column, False
    live = a.any(axis=1)
    if not live.any():
        return np.arange(size), 0.0
    natural, best = (correlation[np.arange(size), o][live].mean() for o in (np.arange(size), order))
    if best <= natural + 0.02:
        return np.arange(size), float(natural)
    return order, float(best)


def _normal(values: Array) -> Array:
    """Rows of mean 0 and norm 1, or of zeros."""
    centred = values.astype(np.float64) - values.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    found: Array = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-6)
    return found
