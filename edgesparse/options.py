"""The arguments and options that several commands share, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edgesparse.errors import InputError
from edgesparse.workspace import check_place

if TYPE_CHECKING:
    import onnx_ir as ir

# Optional[...] and not "... | None": typer evaluates these on Python 3.10, too.

Model = Annotated[Path, typer.Argument(help="an ONNX file", metavar="MODEL.onnx")]
Bundle = Annotated[Path, typer.Argument(help="a folder that `edgesparse compile` made", metavar="NAME.edge")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document instead of tables")]
Force = Annotated[bool, typer.Option("--force", help="replace what is there")]
Shapes = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--shape", metavar="NAME=1,3,224,224", help="fix the shape of an input; may be repeated"),
]
Device = Annotated[str, typer.Option(help="a name that `edgesparse devices` lists, or a .toml file")]
Precision = Annotated[
    str, typer.Option(help="f32; or f16, for arm64: weights and activations as halves, inputs and outputs stay f32")
]
Storage = Annotated[
    str, typer.Option(help="f32; or f16 or int8, for browsers: weights are rounded so that less is downloaded")
]
Weights = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="of a language model: f32, f16, int8 (default) or int4; int8 and int4 round what a layer reads to bytes"
    ),
]
Context = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="of a language model: how many tokens its caches hold; default: what it was made for"),
]
BlockSparsity = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="with --weights int4: leave out this share of the weights, in blocks of 4 outputs x 16 inputs"),
]
KeepRules = Annotated[
    bool,
    typer.Option("--keep-rules", help="of a language model: skip inputs also where computing with all is faster"),
]
Each = Annotated[bool, typer.Option("--each", help="the inputs are stacks of samples: iterate over axis 0")]
Runtime = Annotated[
    str, typer.Option(help="auto, local, qemu, wasmtime, node, chromium, firefox, adb[:SERIAL] or ssh:USER@HOST[:PORT]")
]
Threads = Annotated[int, typer.Option(min=0, help="how many run the model; 0: one for each CPU it may use")]
Cores = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(metavar="big|little|all|MASK", help="with adb, ssh and qemu: which cores run the model; MASK as 0xf0"),
]
Left = Annotated[
    bool,
    typer.Option(
        "--keep", help="with adb and ssh: leave program and weights there, so that they need not be sent again"
    ),
]
Calibration = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="FILE.npz", help="samples: one array per input of the model, stacked on axis 0"),
]
Keep = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(metavar="NAME", help="leave this layer dense; may be repeated"),
]
Include = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(metavar="NAME", help="prune this layer, too: the first convolution, the classifier, a depthwise one"),
]
Out = Annotated[Path, typer.Option("--output", "-o", help="where to write")]
OneSample = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--input", help=".npz or .npy with one sample; without it: random numbers, always the same"),
]
Inputs = Annotated[Path, typer.Option("--input", help=".npz with one key per input, or .npy for a single input")]


def load_model(path: Path, shapes: list[str] | None) -> ir.Model:
    """The model at ``path`` with these ``--shape`` options; what is odd about its weights is a warning."""
    from edgesparse.importer import load
    from edgesparse.inspect import weight_warnings
    from edgesparse.report import warn

    model = load(path, shapes=parse_shapes(shapes or []))
    for text in weight_warnings(model):
        warn(text)
    return model


def parse_shapes(texts: list[str]) -> dict[str, tuple[int, ...]]:
    """``["x=1,3,224,224"]`` -> ``{"x": (1, 3, 224, 224)}``; a name may hold ``=``.

    Raises:
        InputError: not of that form, a dimension that is no positive number, or a name given twice.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, dims = text.rpartition("=")
        parts = dims.replace("x", ",").split(",")
        if not equals or not name or not all(p.strip().isdecimal() and int(p) > 0 for p in parts):
            raise InputError(f"--shape {text!r} is not NAME=1,3,224,224", hint="`edgesparse inspect` shows the inputs")
        if name in shapes:
            raise InputError(f"--shape gives '{name}' twice", hint="give it once, with all dimensions")
        shapes[name] = tuple(int(p) for p in parts)
    return shapes


def parse_milliseconds(option: str, text: str) -> float:
    """``8ms``, ``800us``, ``0.01s`` or a number of milliseconds -> milliseconds.

    Raises:
        InputError: anything else, or no more than 0.
    """
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    short = text.strip().lower()
    unit = next((u for u in units if short.endswith(u)), "")
    try:
        found = float(short.removesuffix(unit)) * units.get(unit, 1.0)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise InputError(f"{option} {text!r} is no time", hint=f"{option} 8ms, or 800us")
    return found


def check_file(path: Path, force: bool) -> None:
    """As `check_place`, for a file: raises InputError for a folder, which no ``--force`` replaces."""
    check_place(path, force=force)
    if path.is_dir():
        raise InputError("is a folder", where=str(path), hint="give the name of a file to write")


def left(keep: bool) -> dict[str, bool]:
    """The option of ``--keep`` for `runtimes.open`: only where it was given, since most runtimes have none."""
    return {"keep": True} if keep else {}
