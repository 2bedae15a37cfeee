"""How compiling C goes wrong: a compiler that dies, a full disk, a cache with half an object in it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgesparse import build, places
from edgesparse.devices import load_device
from edgesparse.errors import BuildError, InputError
from edgesparse.kernels import table

Dies = Callable[[int, str], None]


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Dies:
    """``dies(code, stderr)``: from now on every compiler ends so."""

    def set_up(code: int, stderr: str) -> None:
        def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess([], code, "", stderr)

        monkeypatch.setattr(subprocess, "run", run)

    return set_up


def _free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


@pytest.mark.parametrize(("code", "how"), [(-signal.SIGABRT, "was killed by SIGABRT"), (1, r"failed \(exit code 1\)")])
def test_no_word_and_no_space(dies: Dies, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, how: str) -> None:
    dies(code, "")
    _free(monkeypatch, 300_000)
    with pytest.raises(InputError, match=f"compiler {how}; only 0.3 MB are free") as caught:
        build.zig("cc", [], tmp_path)
    assert caught.value.where == tempfile.gettempdir() and "TMPDIR" in caught.value.hint


def test_the_cache_may_be_the_full_one(dies: Dies, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dies(-signal.SIGBUS, "")
    cache = tmp_path / "cache"
    monkeypatch.setenv("EDGESPARSE_CACHE", str(cache / "not made yet"))
    cache.mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda p: SimpleNamespace(free=0 if p.is_relative_to(cache) else 10**12))
    with pytest.raises(InputError, match=r"SIGBUS; only 0.0 MB are free") as caught:
        build.zig("cc", [], tmp_path)
    assert caught.value.where == str(cache / "not made yet")


def test_a_cache_that_cannot_be_made(dies: Dies, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """zig would look for its own for ever: it is not called."""
    dies(0, "")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGESPARSE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="the cache cannot be written") as caught:
        build.zig("cc", [], tmp_path)
    assert "EDGESPARSE_CACHE" in caught.value.hint


def test_killed_for_its_memory(dies: Dies, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dies(-signal.SIGKILL, "")
    _free(monkeypatch, 10**12)
    with pytest.raises(InputError, match="the compiler was killed by SIGKILL") as caught:
        build.zig("cc", [], tmp_path)
    assert "memory" in caught.value.hint


@pytest.mark.parametrize(
    ("code", "stderr", "how"),
    [
        (-signal.SIGSEGV, "", "was killed by SIGSEGV"),
        (-99, "", "was killed by signal 99"),
        (1, "error: huh", r"failed \(exit code 1\):\nerror: huh"),
    ],
)
def test_a_compiler_that_dies_otherwise_is_our_bug(
    dies: Dies, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, stderr: str, how: str
) -> None:
    dies(code, stderr)
    _free(monkeypatch, 10**12)
    with pytest.raises(BuildError, match=how):
        build.zig("cc", [], tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "empty", "another", "no checksum", "half a checksum"])
def test_a_damaged_object_is_compiled_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str) -> None:
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(places.cache_dir() / "zig"))  # its own is whole, and takes longer
    monkeypatch.setenv("EDGESPARSE_CACHE", str(tmp_path))
    target = load_device("rpi5").target
    kernel = next(k for k in table() if k.isa == "neon" and k.op == "binary")
    path = build.kernel_object(kernel, target)
    good, before = path.read_bytes(), path.stat().st_mtime_ns
    checksum = path.with_suffix(".sha256")
    if "checksum" in damage:
        checksum.write_text("" if damage == "no checksum" else checksum.read_text()[:10])
    else:
        path.write_bytes({"truncated": good[: len(good) // 2], "empty": b"", "another": bytes(len(good))}[damage])
    assert build.kernel_object(kernel, target) == path and path.read_bytes() == good
    after = path.stat().st_mtime_ns
    assert after > before
    build.kernel_object(kernel, target)
    assert path.stat().st_mtime_ns == after, "found in the cache"
    assert {re.sub("-[0-9a-f]+", "", p.name) for p in path.parent.iterdir()} == {
        f"{kernel.source.stem}.o", f"{kernel.source.stem}.sha256"
    }  # fmt: skip
