"""README.md does what it says: its programs run, its tables are complete."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer
from onnx import helper

import edgesparse as es
from edgesparse import cli
from edgesparse.devices import load_device
from edgesparse.runtimes import node
from tests.conftest import PROJECT, require
from tests.tiny_models import f32, model, numbers

README = (PROJECT / "README.md").read_text()


def program(language: str) -> str:
    """The one block of code in ``language``."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)
    return str(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.onnx with the names and shapes of the README's model."""
    path = tmp_path_factory.mktemp("readme")
    nodes = [
        helper.make_node("Reshape", ["input_1", "shape"], ["image"], "reshape"),
        helper.make_node("Conv", ["image", "first"], ["a"], "conv", strides=[4, 2]),
        helper.make_node("Relu", ["a"], ["b"], "relu"), helper.make_node("Conv", ["b", "second"], ["c"], "conv2"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], "pool"), helper.make_node("Flatten", ["d"], ["e"], "flat"),
        helper.make_node("MatMul", ["e", "classes"], ["Identity"], "fc"),
    ]  # fmt: skip
    weights = {
        "shape": np.array([-1, 1, 49, 10]), "first": numbers(8, 1, 5, 3), "second": numbers(8, 8, 1, 1, seed=1),
        "classes": numbers(8, 12, seed=2),
    }  # fmt: skip
    proto = model(nodes, [f32("input_1", "batch", 49, 10, 1)], [f32("Identity", "batch", 12)], weights)
    proto.graph.node[1].attribute.append(helper.make_attribute("pads", [2, 1, 2, 1]))
    onnx.save(proto, path / "model.onnx")
    return path


def compiled(folder: Path, device: str) -> tuple[Path, Any]:
    """``DEVICE/kws.edge`` and the output of the model for zeros, as the README's programs print it."""
    (folder / device).mkdir(exist_ok=True)
    bundle = folder / device / "kws.edge"
    es.compile(es.load(folder / "model.onnx"), device, bundle, force=True)
    with es.open(bundle) as session:
        return bundle, session.run({"input_1": np.zeros((1, 49, 10, 1), np.float32)})["Identity"]


def test_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"x": np.ones((1, 49, 10, 1), np.float32)}
    exec(program("python"), names)
    assert names["y"]["Identity"].shape == (1, 12) and Path("sparse.onnx").is_file()


def test_c(folder: Path) -> None:
    require("qemu-aarch64")
    bundle, expected = compiled(folder, "rpi5")
    (bundle.parent / "main.c").write_text(program("c"))
    (command,) = re.findall(r"\(`zig (cc .*libmodel\.a)`\)", README)
    line = [sys.executable, "-m", "ziglang", *command.split(), "-static", "-Wall", "-Werror", "-o", "main"]
    subprocess.run(line, cwd=bundle.parent, check=True)
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64") or ""
    done = subprocess.run([emulator, "./main"], cwd=bundle.parent, check=True, capture_output=True, text=True)
    np.testing.assert_allclose(np.array(done.stdout.split(), float), expected.ravel(), rtol=1e-4)


def test_javascript(folder: Path) -> None:
    require("node")
    bundle, expected = compiled(folder, "browser")
    (bundle.parent / "main.mjs").write_text(program("js"))
    found = node._node(bundle, relaxed=False)[0]
    done = subprocess.run([found, bundle.parent / "main.mjs"], check=True, capture_output=True, text=True)
    printed = re.findall(r"-?\d[\d.e-]*", done.stdout.partition("[")[2])
    np.testing.assert_allclose(np.array(printed, float), expected.ravel(), rtol=1e-6)


@pytest.mark.parametrize("device", ["host", "rpi5", "browser"])
def test_every_file_of_a_bundle_is_in_the_table(folder: Path, device: str) -> None:
    bundle = folder / f"{device}.edge"
    es.compile(es.load(folder / "model.onnx"), device, bundle)
    table = README.partition("## A bundle")[2].partition("\n\nStart reading")[0]
    first = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    assert {p.name for p in bundle.iterdir()} <= set(re.findall(r"`([^`]+)`", first))


def test_every_command_and_extra_is_named() -> None:
    for name in typer.main.get_command(cli.app).commands:  # type: ignore[attr-defined]
        assert f"| `edgesparse {name}" in README
    project = (PROJECT / "pyproject.toml").read_text()
    extras = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    for extra in re.findall(r"^(\w+) = ", extras, re.M):
        assert f".[{extra}]" in README
    assert load_device("rpi5").triple == "aarch64-linux-musl", "the target of the C program"
