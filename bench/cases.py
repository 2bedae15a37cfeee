"""What is measured: networks from examples/models.py, pruned; and the input they run on."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import cache
from bench.engine import Array, Shape
from edgesparse.errors import InputError
from edgesparse.patterns import parse_pattern

if TYPE_CHECKING:
    import onnx_ir as ir

MODELS = Path(__file__).resolve().parent.parent / "examples" / "models.py"
ALIASES = {"squeezenet": "squeezenet1_1"}
DENSE = "dense"
# What `sparsify` would leave dense as the classifier, but is a convolution like the others and 30% of the work.
INCLUDED = {"squeezenet": ("node_conv2d_25",), "squeezenet1_1": ("node_conv2d_25",)}


@dataclass(frozen=True, slots=True)
class Case:
    """``pattern`` is `DENSE` where ``sparsity`` is 0."""

    model: str
    pattern: str
    sparsity: float

    def __str__(self) -> str:
        return f"{self.model} {self.pattern}" + (f" {self.sparsity:g}" if self.sparsity else "")


def parse_cases(models: str, sparsities: str, patterns: str) -> list[Case]:
    """All combinations of comma-separated lists; without zeros there is one case a model, for no pattern.

    Raises:
        InputError: an unknown pattern, or a sparsity that is no number in [0, 1).
    """
    known = [parse_pattern(text).text for text in split(patterns, "--patterns")]
    shares = [_share(text) for text in split(sparsities, "--sparsity")]
    cases = []
    for model in split(models, "--models"):
        for share in shares:
            for pattern in known if share else [DENSE]:
                cases.append(Case(model, pattern, share))
    return list(dict.fromkeys(cases))


def split(text: str, option: str) -> list[str]:
    """``"a, b"`` -> ``["a", "b"]``. Raises InputError where nothing is left."""
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise InputError("an empty list", where=option, hint="give names separated by commas")
    return words


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share < 1:
        raise InputError(f"'{text}' is not a sparsity in [0, 1)", where="--sparsity", hint="0.7: 70% of the weights")
    return share


def exported(model: str) -> Path:
    """The dense network as ONNX, exported once for each state of examples/models.py.

    Raises:
        InputError: no such network, or torch is missing.
    """
    digest = hashlib.sha256(MODELS.read_bytes()).hexdigest()[:10]
    path = cache.folder("networks") / f"{model}-{digest}.onnx"
    if not path.exists():
        from edgesparse.frontend import export_factory
        from edgesparse.importer import save

        part = path.with_name(f"{path.stem}-{os.getpid()}.part.onnx")
        save(export_factory(f"{MODELS}:{ALIASES.get(model, model)}"), part)
        part.replace(path)
    return path


@dataclass(frozen=True, slots=True)
class Pruned:
    """``zeros`` is the share of zeros among the weights of all convolutions and products, in [0, 1]."""

    onnx: Path
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    zeros: float


def pruned(case: Case, folder: Path) -> Pruned:
    """The network of ``case`` as a file in ``folder``: the one file that every engine gets."""
    from edgesparse.importer import load, save
    from edgesparse.sparsify import sparsify

    path = exported(case.model)
    model = load(path)
    if case.sparsity:
        sparsify(model, case.pattern, case.sparsity, include=INCLUDED.get(case.model, ()), rearrange=False)
        path = folder / "pruned.onnx"
        save(model, path)
    inputs, outputs = _ports(model.graph.inputs, case), _ports(model.graph.outputs, case)
    return Pruned(path, inputs, outputs, _zeros(model))


def _ports(values: Sequence[ir.Value], case: Case) -> dict[str, Shape]:
    ports: dict[str, Shape] = {}
    for value in values:
        shape = value.shape
        if value.name is None or shape is None or not all(isinstance(d, int) for d in shape):
            raise InputError(f"'{value.name}' has no fixed shape", where=str(case), hint="export with static shapes")
        if value.dtype is None or value.dtype.name != "FLOAT":
            raise InputError(f"'{value.name}' is not float32", where=str(case), hint="only fp32 networks are measured")
        ports[value.name] = tuple(int(d) for d in shape if isinstance(d, int))
    return ports


def _zeros(model: ir.Model) -> float:
    from edgesparse.passes.weights import WEIGHTED

    zeros = size = 0
    for node in model.graph:
        weight = node.inputs[1] if node.op_type in WEIGHTED and len(node.inputs) > 1 else None
        if weight is not None and weight.const_value is not None:
            values = weight.const_value.numpy()
            zeros, size = zeros + values.size - int(np.count_nonzero(values)), size + values.size
    return zeros / size if size else 0.0


def random_input(shapes: Sequence[Shape]) -> list[Array]:
    """Normally distributed, always the same."""
    random = np.random.default_rng(0)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]
