"""The command `edgesparse demo`; `cli.py` adds it."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edgesparse.errors import InputError
from edgesparse.options import Force, Json, Shapes, load_model

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.demo import Recipe
    from edgesparse.demo_server import DemoServer
    from edgesparse.demo_site import Site

commands = typer.Typer()

# Optional[...] below and not "... | None": typer evaluates it on Python 3.10, too.

SPARSITIES, PATTERN, HOST = "0,0.5,0.9", "block:4x1", "127.0.0.1"
RACES = {"small": ("small",), "full": ("full",), "both": ("small", "full"), "none": ()}


@commands.command(
    epilog="Example: edgesparse demo model.onnx --sparsity 0,0.5,0.9 --labels labels.txt --sample cat.jpg"
)
def demo(
    models: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(
            metavar="[MODEL.onnx | LM.edge..]",
            help="a model of your own, on the page beside the two of the demo; or one or two bundles of language "
            "models for browsers, on a page of their own",
        ),
    ] = None,
    sparsity: Annotated[str, typer.Option(metavar="0,0.5,0.9", help="for your model: how many zeros")] = SPARSITIES,
    pattern: Annotated[
        str, typer.Option(help="for your model: how the zeros lie; several are separated by commas")
    ] = PATTERN,
    labels: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE.txt", help="for your model: the name of each class on a line"),
    ] = None,
    sample: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(metavar="PHOTO.jpg", help="an image to choose on the page; may be repeated"),
    ] = None,
    shape: Shapes = None,
    race: Annotated[
        str, typer.Option(metavar="both|small|full|none", help="the networks that race: width 0.25, 1.0 or both")
    ] = "both",
    export: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FOLDER", help="write a folder for any web host instead of serving"),
    ] = None,
    host: Annotated[str, typer.Option(help="0.0.0.0 serves to the whole network")] = HOST,
    port: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, max=65535, help="default: the first that is free from 8400 on"),
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="open the page in your browser")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show networks dense and sparse, side by side, in a web page on this machine. Ctrl-C stops it."""
    model = models[0] if models else None
    own = labels or shape or sample or sparsity != SPARSITIES or pattern != PATTERN
    if race not in RACES:
        raise InputError(f"--race {race!r} is none of {', '.join(RACES)}", hint="--race small is built fastest")
    if export is not None and (port is not None or open or host != HOST):
        raise InputError("--export writes files and serves nothing", hint="leave --host, --port and --open out")
    if models and models[0].is_dir():
        if own or race != "both":
            raise InputError(
                "--sparsity, --pattern, --labels, --sample, --shape and --race are not for language models",
                hint="edgesparse demo lm.edge",
            )
        return _show(lambda: _language_site(models, export), export, host, port, open, force, json)
    if models and len(models) > 1:
        raise InputError(
            f"{len(models)} models", where=str(models[1]), hint="give one, or two bundles of language models"
        )
    if model is None and own:
        raise InputError(
            "--sparsity, --pattern, --labels, --sample and --shape belong to a model of yours",
            hint="edgesparse demo model.onnx --labels ..",
        )

    def content() -> Site:
        from edgesparse import demo as networks
        from edgesparse import report
        from edgesparse.demo_site import site

        recipes = [networks.digits(), *(networks.race(size) for size in RACES[race])]
        if model is not None:
            recipes.append(_own(model, sparsity, pattern, labels, shape))
        folders: list[Path] = []
        for recipe in reversed(recipes):  # the user's model first: it is the one that may be refused
            with report.progress("demo:") as on_progress:
                folders.insert(0, networks.build(recipe, on_progress))
        return site(folders, sample or (), export=export is not None)

    return _show(content, export, host, port, open, force, json)


def _language_site(bundles: list[Path], export: Path | None) -> Site:
    from edgesparse.demo_language import language_site

    return language_site(bundles, export=export is not None)


def _show(
    made: Callable[[], Site], export: Path | None, host: str, port: int | None, browser: bool, force: bool, json: bool
) -> None:
    """Write the site that ``made`` gives as the folder ``export``, or serve it."""
    from edgesparse import report
    from edgesparse.demo_server import DemoServer
    from edgesparse.demo_site import check_site, content_bytes, write_site

    if export is not None:
        check_site(export, force=force)
    server = None if export is not None else DemoServer({}, host, port)  # what is wrong with the port is said at once
    try:
        content = made()
        facts: dict[str, object] = {"files": len(content), "bytes": content_bytes(content)}
        size = report.kilobytes(content_bytes(content))
        if export is not None:
            write_site(content, export, force=force)
            facts = {"folder": str(export), **facts}
            report.print_json(facts) if json else print(
                f"wrote {export}/: {len(content)} files, {size}; any host will do"
            )
            return
        assert server is not None
        server.content = content
        _serve(server, facts, browser, json)
    finally:
        if server is not None:
            server.close()


def _own(model: Path, sparsity: str, pattern: str, labels: Path | None, shape: list[str] | None) -> Recipe:
    import hashlib

    from edgesparse.demo import own
    from edgesparse.patterns import parse_pattern

    sparsities = []
    for text in sparsity.split(","):
        try:
            sparsities.append(float(text))
        except ValueError:
            raise InputError(f"--sparsity {text!r} is no number", hint="--sparsity 0,0.5,0.9") from None
        if not 0 <= sparsities[-1] < 1:
            raise InputError(f"sparsity {text} is outside of [0, 1)", hint="0.7 sets 70% of the weights to zero")
    patterns = [word.strip() for word in pattern.split(",") if word.strip()]
    fixed = {parse_pattern(word).fixed_sparsity for word in patterns}
    if sparsity == SPARSITIES and len(fixed) == 1 and (only := fixed.pop()) is not None:
        sparsities = [0.0, only]  # nm:2:4 knows no other
    if not patterns:
        raise InputError("--pattern names no pattern", hint=f"--pattern {PATTERN}")
    names = () if labels is None else _labels(labels)
    loaded = load_model(model, shape)
    _check_labels(names, loaded)
    digest = hashlib.sha256(model.read_bytes())
    for value in loaded.graph.initializers.values():  # they may lie in other files
        digest.update(value.const_value.tobytes() if value.const_value is not None else b"")
    return own(model.name, loaded.clone, digest.hexdigest() + repr(shape), sorted(sparsities), patterns, names)


def _labels(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "is no UTF-8 text"
        raise InputError(
            f"cannot be read: {why}", where=str(path), hint="one name a line, in the order of the classes"
        ) from error
    if not any(names):
        raise InputError("holds no names", where=str(path), hint="one name a line, in the order of the classes")
    return names


def _check_labels(names: tuple[str, ...], model: ir.Model) -> None:
    """Warn where no output has as many classes as there are names: all of them may be off by one."""
    from edgesparse.report import warn

    sizes = [v.shape[-1] for v in model.graph.outputs if v.shape is not None and len(v.shape)]
    if names and sizes and len(names) not in sizes:
        told = " and ".join(str(size) for size in sizes)
        warn(f"--labels has {len(names)} names, but outputs have {told} classes: names may stand at the wrong ones")


def _serve(server: DemoServer, facts: Mapping[str, object], browser: bool, json: bool) -> None:
    """Until Ctrl-C, which is how one ends it, not an error."""
    from edgesparse import report
    from edgesparse.demo_server import is_loopback

    if not is_loopback(server.host):
        report.warn(
            f"everybody who reaches {server.host or '0.0.0.0'} sees the page and your model; over http:// from other "
            "machines, browsers give neither threads nor the camera"
        )
    if json:
        report.print_json({"url": server.url, **facts})
    else:
        print(f"{server.url} shows the page; Ctrl-C stops it")
    sys.stdout.flush()
    if browser and not webbrowser.open(server.url):
        report.warn("no browser could be opened: open the address yourself")
    with suppress(KeyboardInterrupt):
        server.serve_forever()
    report.note("stopped")
