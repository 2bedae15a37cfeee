"""`edgesparse quickstart` as a newcomer runs it: in a process of its own, in an empty folder."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgesparse.errors import InputError
from edgesparse.examples import __file__ as examples
from edgesparse.quickstart import quickstart
from tests.conftest import require

TARGETS = ("host", "rpi5", "browser")


def call(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgesparse", "quickstart", *arguments],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder it was called in, and the JSON it printed."""
    require("qemu-aarch64")
    require("wasmtime")
    folder = tmp_path_factory.mktemp("tour")
    done = call(folder, "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_every_target_is_as_right_as_onnxruntime(tour: tuple[Path, dict[str, Any]]) -> None:
    folder, found = tour
    assert found["missing"] == {}
    assert [(r["device"], r["sparsity"]) for r in found["rows"]] == [(d, s) for d in TARGETS for s in (0.0, 0.5, 0.75)]
    for row in found["rows"]:
        right = right_in_onnxruntime(folder / "quickstart" / f"digits-{100 * row['sparsity']:.0f}.onnx")
        assert right >= 194, "97% of the test images: the model in examples/ is trained, and survives pruning"
        assert (row["right"], row["same"], row["images"]) == (right, 200, 200)
        assert row["max_rel_error"] < 1e-4
        assert (row["latency_us"] is not None) == (row["device"] == "host")
        assert row["code_bytes"] > 0 and row["arena_bytes"] > 0
    for device in TARGETS:
        sizes = [r["weights_bytes"] for r in found["rows"] if r["device"] == device]
        assert sizes[0] > sizes[1] > sizes[2]


def right_in_onnxruntime(path: Path) -> int:
    session = onnxruntime.InferenceSession(str(path))
    name = session.get_inputs()[0].name
    with np.load(Path(examples).parent / "digits_test.npz") as data:
        answers = [session.run(None, {name: image[None]})[0].argmax() for image in data["image"]]
        return int((np.array(answers) == data["labels"]).sum())


def test_it_names_exactly_what_it_wrote(tour: tuple[Path, dict[str, Any]]) -> None:
    folder, found = tour
    assert sorted(folder / name for name in found["files"]) == sorted(p for p in folder.rglob("*") if p.is_file())
    assert {row["bundle"] for row in found["rows"]} == {str(Path(f).parent) for f in found["files"] if ".edge" in f}


def test_a_second_run_replaces_nothing_unless_forced(tour: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = tour
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = call(folder)
    assert again.returncode == 2
    assert again.stdout == ""
    assert "error: quickstart/digits-0.onnx: exists already (and 11 more)\n  hint: --force" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    done = call(tmp_path, "-o", "taken")
    assert done.returncode == 2
    assert "error: taken: cannot make this folder: file exists\n  hint: -o FOLDER" in done.stderr
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("there", [False, True])
def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """After the three models, the disk takes no more."""
    folder = tmp_path / "a" / "tour"
    if there:
        folder.mkdir(parents=True)
        (folder / "mine").touch()

    def full(*_: object, **__: object) -> None:
        assert len(list(folder.glob("*.onnx"))) == 3
        raise InputError("could not be written: no space left on device")

    monkeypatch.setattr("edgesparse.compile", full)
    with pytest.raises(InputError, match="no space left"):
        quickstart(folder)
    assert [p.name for p in tmp_path.rglob("*")] == (["a", "tour", "mine"] if there else [])


def test_forced_and_without_engines_it_says_how_to_get_them(tour: tuple[Path, dict[str, Any]]) -> None:
    if platform.machine() == "aarch64":
        pytest.skip("runs arm64 programs without an emulator")
    folder, found = tour
    done = call(folder, "--force", QEMU="/no/such/program")
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(
        "warning: $QEMU is /no/such/program, which is not a program: "
        "apt-get install qemu-user-static, or set $QEMU to where it is\n"
    )
    assert "not run" in done.stdout and "wasmtime" in done.stdout
    for name in found["files"]:
        assert Path(name).name in done.stdout
