"""Export from torch: what the command prints, what the file holds, and every way it can go wrong."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import edgesparse as es
from edgesparse.errors import InputError
from edgesparse.frontend import export_factory
from tests.conftest import PROJECT, require

MODELS = PROJECT / "examples" / "models.py"
CODE = """
import torch
from torch import nn

print("imported")

class Branch(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else 2 * x

def linear(): return nn.Linear(4, 3), torch.ones(1, 4)
def branch(): return Branch(), torch.ones(1, 4)
def misfit(): return nn.Linear(4, 3), torch.ones(1, 5)
def lists(): return nn.Linear(4, 3), [1.0, 2.0]
def pair(): return 3, torch.ones(1)
def number(): return 3
def fails():
    return {}["nothing"]
constant = 3
"""

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def torch_is_there() -> None:
    require("torch")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(CODE)
    return path


def test_the_command_exports_ds_cnn(tmp_path: Path) -> None:
    """In a process of its own: nothing but our lines on stdout and stderr."""
    out = tmp_path / "m.onnx"
    command = [sys.executable, "-m", "edgesparse", "export", f"{MODELS}:ds_cnn", "-o", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"file": str(out), "bytes": out.stat().st_size}
    assert done.stderr == f"note: exporting {MODELS}:ds_cnn with torch; this takes some seconds\n"
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert {o.domain: o.version for o in model.opset_import} == {"": 18}
    assert not any(tensor.HasField("data_location") and tensor.data_location for tensor in model.graph.initializer)
    assert str(PROJECT).encode() not in out.read_bytes(), "stack traces hold private paths"


def test_the_model_computes_what_the_module_computes(tmp_path: Path) -> None:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5)
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.drop(torch.relu(self.norm(self.conv(x)))) + bias
            return y

    torch.manual_seed(0)
    net, x, bias = Net(), torch.randn(2, 3, 6, 6), torch.randn(5, 1, 1)
    model = es.export(net, (x, bias))
    es.save(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    (got,) = session.run(None, {"x": x.numpy(), "bias": bias.numpy()})
    assert not net.training
    np.testing.assert_allclose(got, net(x, bias).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_axes_that_vary() -> None:
    """By the third thing that a factory returns; shapes and numbers are then those of any size."""
    exported = export_factory(f"{MODELS.with_name('llama.py')}:tiny")
    dims = {v.name: [str(d) if not isinstance(d, int) else d for d in v.shape or ()] for v in exported.graph.inputs}
    assert dims["input_ids"] == dims["position_ids"] == [1, "tokens"]
    assert dims["past_0"] == [1, 2, "past", 16]


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_net.py").write_text("SIZE = 4\n")
    (tmp_path / "net.py").write_text(
        "import torch, neighbour_of_net as n\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Config:\n    size: 'int' = n.SIZE\n"
        "def net(): return torch.nn.Linear(Config().size, 2), torch.ones(1, 4)\n"
    )
    before = list(sys.path)
    model = export_factory(f"{tmp_path / 'net.py'}:net")
    assert [list(value.shape or ()) for value in model.graph.inputs] == [[1, 4]]
    assert sys.path == before


def test_what_the_file_prints_goes_to_stderr(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_factory(f"{code}:linear")
    assert capsys.readouterr() == ("", "imported\n")


@pytest.mark.parametrize(
    ("function", "where", "what", "hint"),
    [
        (":branch", "Branch", "torch cannot export it: GuardOnDataDependent", "on the values of tensors"),
        (":misfit", "Linear", "does not run on the example inputs: RuntimeError: mat1 and mat2", ""),
        (":lists", "Linear", "example inputs must be tensors, not list", "a tuple of them"),
        (":pair", "", "not a torch.nn.Module but int", "es.export(module, example_inputs)"),
        (":number", "net.py", "number() returns int", "a torch.nn.Module and its example inputs"),
        (":fails", "net.py:18", "KeyError: 'nothing'", "the error is in this file"),
        (":linaer", "net.py", "no function 'linaer'", "it has linear"),
        (":constant", "net.py", "no function 'constant'", "it has"),
        ("", "net.py", "which function of it?", "FILE.py:FUNCTION"),
        (":", "net.py", "which function of it?", "FILE.py:FUNCTION"),
        ("x:linear", "net.pyx", "no such Python file", "FILE.py:FUNCTION"),
    ],
)
def test_errors_say_what_and_where(code: Path, function: str, where: str, what: str, hint: str) -> None:
    with pytest.raises(InputError) as error:
        export_factory(f"{code}{function}")
    assert what in error.value.what
    assert error.value.where.endswith(where)
    assert hint in error.value.hint
    assert "\n" not in error.value.what


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("import nothing_of_that_name\n", 1, "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("\n\ndef f(:\n", 3, "SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_imported(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        export_factory(f"{path}:f")
    assert error.value.where == f"{path}:{line}"
    assert what in error.value.what


INSTALL = "pip install torch==2.13.0 (in a checkout: '.[torch]')"


def test_without_torch(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.split(".")[0] == "torch":
            raise ImportError(f"No module named '{name}'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError) as of_factory:
        export_factory(f"{code}:linear")
    with pytest.raises(InputError) as of_module:
        es.export(None, ())
    for error in (of_factory.value, of_module.value):
        assert (error.what, error.hint) == ("PyTorch is not installed", INSTALL)
