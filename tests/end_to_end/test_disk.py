"""Places that cannot be written, full disks and kill -9: a message, and nothing half done is left behind."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgesparse as es
from edgesparse.manifest import read_manifest
from tests.tiny_models import linear

from .refusals import Call, refuses, tree


def test_only_a_bundle_is_replaced_and_only_by_force(call: Call) -> None:
    onnx.save(linear(), "m.onnx")
    Path("m.edge").mkdir()
    Path("m.edge/manifest.json").write_text(json.dumps({"name": "a web page"}))
    refuses(call, 2, "m.edge: exists already\n  hint: --force replaces it")
    refuses(call, 2, "m.edge: is not a bundle, so it is not replaced", arguments=["--force"])
    Path("m.edge/manifest.json").unlink()
    Path("m.edge").rmdir()
    Path("m.edge").symlink_to("nowhere")
    refuses(call, 2, "m.edge: exists already")
    refuses(call, 2, "is not a bundle", arguments=["--force"])
    Path("m.edge").unlink()
    assert call("compile", "m.onnx", "-o", "m.edge")[0] == 0
    first = read_manifest(Path("m.edge"))
    refuses(call, 2, "m.edge: exists already\n  hint: --force replaces it")
    assert call("compile", "m.onnx", "-o", "m.edge", "--force", "--shape", "x=1,4")[0] == 0
    assert read_manifest(Path("m.edge")).inputs == first.inputs
    assert sorted(os.listdir()) == ["m.edge", "m.onnx"]


@pytest.mark.parametrize("place", ["nowhere/m.edge", "m.onnx/m.edge", "/proc/m.edge", "/proc/self/m.edge"])
def test_a_place_that_cannot_be_written(call: Call, place: str) -> None:
    """/proc refuses new folders even to root."""
    onnx.save(linear(), "m.onnx")
    code, err = call("compile", "m.onnx", "-o", place)
    assert code == 2 and err.startswith("error: ") and "hint: " in err
    assert os.listdir() == ["m.onnx"]
    code, err = call("sparsify", "m.onnx", "--pattern", "unstructured", "--sparsity", "0.5", "-o", place)
    assert code == 2 and err.startswith("error: ") and os.listdir() == ["m.onnx"]
    if place.startswith("m.onnx"):
        assert "error: m.onnx: is not a folder\n" in err and "mkdir" not in err


LONG = "x" * 300


BAD_NAMES = (
    (("compile", "m.onnx", "-o", LONG), "file name too long"),
    (("compile", LONG, "-o", "n.edge"), "file name too long"),
    (("compile", "m.onnx/x", "-o", "n.edge"), "m.onnx/x: no such file"),
    (("compile", "loop.onnx", "-o", "n.edge"), "loop.onnx: no such file"),
    (("inspect", LONG), "file name too long"),
    (("run", LONG, "--input", "x.npy", "-o", "y.npz"), "file name too long"),
    (("run", "m.edge", "--input", LONG, "-o", "y.npz"), "file name too long"),
    (("run", "m.edge", "--input", "x.npy", "-o", LONG), "file name too long"),
    (("run", "m.edge", "--input", ".", "-o", "y.npz"), ".: is a folder"),
    (("run", "m.edge", "--input", "x.npy", "-o", "folder", "--force"), "folder: is a folder"),
    (("run", "m.edge", "--input", "x.npy", "-o", "x.npy/y/z"), "x.npy: is not a folder"),
    (("run", "m.edge", "--input", "x.npy", "-o", "loop.onnx", "--force", "--runtime", "qemu"), "cannot run"),
    (("compare", LONG, "m.edge", "--input", "x.npy"), "file name too long"),
    (("sparsify", "m.onnx", "--pattern", "unstructured", "--sparsity", "0.5", "-o", "folder", "--force"), "folder"),
    (("sparsify", "m.onnx", "--pattern", "unstructured", "--sparsity", "0.5", "-o", LONG), "file name too long"),
)


def test_names_that_cannot_be(call: Call) -> None:
    onnx.save(linear(), "m.onnx")
    np.save("x.npy", np.ones((1, 4), np.float32))
    Path("folder").mkdir()
    Path("loop.onnx").symlink_to("loop.onnx")
    assert call("compile", "m.onnx", "-o", "m.edge")[0] == 0
    before = tree(Path())
    for arguments, message in BAD_NAMES:
        code, err = call(*arguments)
        assert code == 2 and err.startswith("error: ") and message in err, (arguments, err)
        assert tree(Path()) == before


@pytest.mark.parametrize("refusal", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_at_the_end(call: Call, monkeypatch: pytest.MonkeyPatch, refusal: int) -> None:
    onnx.save(linear(), "m.onnx")
    assert call("compile", "m.onnx", "-o", "m.edge")[0] == 0

    def fsync(_: int) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "fsync", fsync)
    refuses(call, 2, f"m.edge: could not be written: {os.strerror(refusal)}", arguments=["--force"])


def test_the_old_bundle_stays_when_the_new_one_fails(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(linear(), "m.onnx")
    assert call("compile", "m.onnx", "-o", "m.edge")[0] == 0
    rename = os.rename

    def only_out(source: Path, target: Path) -> None:
        if source.name == "bundle":
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", only_out)
    refuses(call, 2, "No space left", arguments=["--force"])


def _child(*arguments: str, cache: Path, limit_bytes: int | None = None) -> subprocess.Popen[str]:
    """``edgesparse compile m.onnx -o m.edge`` with caches of its own."""
    environment = {**os.environ, "EDGESPARSE_CACHE": str(cache), "TMPDIR": str(cache)}

    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    command = [sys.executable, "-m", "edgesparse", "compile", "m.onnx", "-o", "m.edge", *arguments]
    return subprocess.Popen(
        command, env=environment, preexec_fn=limit, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("limit_bytes", [0, 3_000])
def test_a_disk_that_takes_no_more(call: Call, tmp_path: Path, limit_bytes: int) -> None:
    """No file may grow over the limit, in us and in the compiler."""
    cache = tmp_path / "cache"
    cache.mkdir()
    onnx.save(linear(), "m.onnx")
    child = _child(cache=cache, limit_bytes=limit_bytes)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 2 and err.startswith("error: ") and "hint: free some space" in err, err
    assert sorted(os.listdir()) == ["cache", "m.onnx"]
    assert not [name for name in tree(cache) if ".edgesparse-" in name]


def test_killed_in_the_middle(call: Call, tmp_path: Path) -> None:
    """kill -9 at any moment: no half bundle, and the next compile works and sweeps up."""
    cache = tmp_path / "cache"
    cache.mkdir()
    onnx.save(linear(), "m.onnx")
    pause = random.Random(0)
    start = time.monotonic()
    assert _child(cache=cache).wait(timeout=300) == 0
    seconds = time.monotonic() - start
    for name in ("m.edge", "n.edge", *("m.edge", "n.edge") * 2):
        next(path for path in (cache / "objects").iterdir() if path.is_file()).unlink()  # something to compile
        child = _child("--force", "-o", name, cache=cache)
        time.sleep(pause.uniform(0.4, 1.0) * seconds)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        for bundle in ("m.edge", "n.edge"):
            if Path(bundle).exists():
                assert set(os.listdir(bundle)) == {"manifest.json", *read_manifest(Path(bundle)).files}
    child = _child("--force", cache=cache)
    _, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    assert set(os.listdir()) - {"n.edge"} == {"cache", "m.edge", "m.onnx"}
    assert not [name for name in tree(cache) if ".edgesparse-" in name]
    with es.open(tmp_path / "m.edge") as session:
        assert session.run({"x": np.ones((1, 4), np.float32)})["y"].shape == (1, 3)
