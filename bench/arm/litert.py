"""LiteRT's arm64 wheel under qemu: XNNPACK's dense and sparse inference beside ours.

The folder ``litert-*`` of the cache holds what it needs, made on first use with pip and apt-get under their own
configuration: the arm64 wheels of ai-edge-litert and NumPy, and Debian's arm64 Python with its libraries. Nothing
on the machine is changed: apt-get keeps its state in that folder, qemu finds the libraries through ``-L``. That
option also puts a made-up /proc/cpuinfo of a Raspberry Pi 5 there; without one, XNNPACK's cpuinfo finds an x86.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from bench.arm.counting import per_inference, run
from bench.arm.tflite import convert, load_schema
from edgesparse.errors import RuntimeFailure
from edgesparse.passes.pipeline import simplify
from edgesparse.places import cache_dir
from edgesparse.types import Array
from edgesparse.workspace import workspace

VERSION = "2.3.0"
WHEELS = (f"ai-edge-litert=={VERSION}", "numpy==2.3.5", "flatbuffers>=25")
PYTHON = "3.11"  # of Debian 12
PACKAGES = (
    "libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libffi8", "libssl3",
    f"python{PYTHON}-minimal", f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib",
)  # fmt: skip
DRIVER = Path(__file__).parent / "litert_driver.py"
_CORE = """processor\t: {index}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""


def root() -> Path:
    """The folder of arm64 files, made on first use.

    Raises:
        RuntimeFailure: pip, apt-get or dpkg-deb is missing or failed.
    """
    made = cache_dir() / "bench" / f"litert-{VERSION}"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        with workspace(made.parent) as scratch:
            fresh = scratch / "root"
            _packages(fresh, scratch)
            _wheels(fresh / "site", scratch)
            (fresh / "proc").mkdir()
            (fresh / "proc" / "cpuinfo").write_text("".join(_CORE.format(index=i) for i in range(4)))
            os.replace(fresh, made)
    return made


def _wheels(site: Path, scratch: Path) -> None:
    tags = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (17, 27, 28)]
    folder = scratch / "wheels"
    options = ["--quiet", "--no-deps", "--only-binary=:all:", f"--python-version={PYTHON}", "-d", str(folder)]
    _tool([sys.executable, "-m", "pip", "download", *tags, *options, *WHEELS], scratch)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)


def _packages(folder: Path, scratch: Path) -> None:
    """apt-get with this machine's sources and keys, but a state of its own, which knows arm64 only."""
    for part in ("state/lists/partial", "cache/archives/partial", "debs"):
        (scratch / part).mkdir(parents=True)
    (scratch / "status").touch()
    settings = {
        "APT::Architecture": "arm64", "APT::Architectures": "arm64", "APT::Sandbox::User": "root",
        "Dir::State": scratch / "state", "Dir::State::status": scratch / "status", "Dir::Cache": scratch / "cache",
    }  # fmt: skip
    options = [text for key, value in settings.items() for text in ("-o", f"{key}={value}")]
    _tool(["apt-get", *options, "-qq", "update"], scratch / "debs")
    _tool(["apt-get", *options, "-qq", "download", *PACKAGES], scratch / "debs")
    for package in sorted((scratch / "debs").glob("*.deb")):
        _tool(["dpkg-deb", "-x", str(package), str(folder)], scratch)


def _tool(command: Sequence[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise RuntimeFailure(
            f"{command[0]} is not installed", where="the arm64 files of LiteRT",
            hint="a machine with Debian 12's package tools is needed; --against none leaves LiteRT out",
        )  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeFailure(
            f"{Path(command[0]).name} failed (exit code {done.returncode}): {done.stderr.strip()[-1000:]}",
            where="the arm64 files of LiteRT",
            hint="it needs the package registries of Debian 12 and of Python; --against none leaves LiteRT out",
        )  # fmt: skip


def count_litert(model: ir.Model, x: Array) -> tuple[float, Array]:
    """Executed instructions per inference of LiteRT with one thread, and its output.

    ``x``: the input in NCHW. Sparse weights are stored sparse, so that XNNPACK may use them (see tflite.py).

    Raises:
        InputError: ``model`` holds what tflite.py does not convert.
        RuntimeFailure: LiteRT cannot be had here, or failed.
    """
    model = model.clone()
    simplify(model)
    home = root()
    site = home / "site"
    converted = convert(model, load_schema(site), site)
    environment = {
        "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(site), "HOME": str(home),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        files = [Path(folder, name) for name in ("model.tflite", "in.bin", "out.bin")]
        files[0].write_bytes(converted)
        files[1].write_bytes(np.ascontiguousarray(x.transpose(0, 2, 3, 1), np.float32).tobytes())
        command = [home / "usr" / "bin" / f"python{PYTHON}", DRIVER, *files]
        count, _ = per_inference(lambda n: run([*command, str(n)], options=["-L", str(home)], environment=environment))
        return count, np.frombuffer(files[2].read_bytes(), np.float32).copy()
