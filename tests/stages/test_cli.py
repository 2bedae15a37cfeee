"""The command line, on the null runtime where a bundle is needed: what is printed where, and exit codes."""

from __future__ import annotations

import errno
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgesparse import cli
from edgesparse.cli_ends import as_typed, end_unread
from edgesparse.devices.host import host
from edgesparse.errors import InputError
from edgesparse.manifest import Manifest, Port
from edgesparse.options import parse_shapes
from edgesparse.version import __version__
from tests.tiny_models import f32, model

from .conftest import Call, unread

COMMANDS = (
    "devices", "inspect", "sparsify", "export", "compile", "explain", "tune", "run", "bench", "compare", "quickstart",
    "evaluate", "size", "view", "sweep", "whatif", "recover", "import-llm",
)  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A manifest and nothing else: x (1, 4) -> y (1, 3). The null runtime answers zeros."""
    folder = tmp_path / "zero.edge"
    folder.mkdir()
    manifest = Manifest(
        edgesparse="0", name="zero", device="host", kind="shared", triple="x86_64-linux-gnu.2.17", isas=("avx2",),
        inputs=(Port(name="x", shape=(1, 4), dtype="f32", bytes=16),),
        outputs=(Port(name="y", shape=(1, 3), dtype="f32", bytes=12),),
        arena_bytes=64, arena_lower_bound_bytes=28, scratch_bytes=0, weights_bytes=0, code_bytes=1, compiler="none",
        layers=(), files={},
    )  # fmt: skip
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


@pytest.fixture
def x_npz(tmp_path: Path) -> Path:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.ones((5, 4), np.float32))
    return path


def _onnx(path: Path, weight: float, names: tuple[str, str] = ("x", "y")) -> Path:
    """y = x w, w (4, 3) all ``weight``."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", [names[0], "w"], [names[1]], name="fc")], "g",
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, [1, 3])],
        [onnx.numpy_helper.from_array(np.full((4, 3), weight, np.float32), "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_version(call: Call) -> None:
    assert call("--version") == (0, f"edgesparse {__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(call: Call, command: str) -> None:
    code, out, _ = call(command, "--help")
    assert code == 0 and f"Example: edgesparse {command}" in " ".join(out.split()) and "--json" in out


def test_no_command_lists_them(call: Call) -> None:
    _, out, err = call()
    for command in COMMANDS:
        assert f"\n  {command} " in out + err


@pytest.mark.parametrize(
    "arguments", [("fly",), ("devices", "--fast"), ("compile",), ("bench", "b", "--num-runs", "0")]
)
def test_bad_usage_is_2(call: Call, arguments: tuple[str, ...]) -> None:
    code, out, err = call(*arguments)
    assert code == 2 and out == "" and err


def test_devices(call: Call) -> None:
    code, out, err = call("devices")
    assert code == 0 and err == "" and "rpi5" in out and "Cortex-A76" in out
    code, out, _ = call("devices", "--json")
    by_name = {d["name"]: d for d in json.loads(out)}
    assert code == 0 and by_name["rpi5"]["cluster"][0]["source"].startswith("published")


def test_unknown_device(call: Call, tmp_path: Path) -> None:
    model = _onnx(tmp_path / "m.onnx", 1)
    code, out, err = call("compile", model, "--device", "rpi6", "-o", "m.edge")
    assert (code, out) == (2, "") and err.startswith("error: unknown device 'rpi6'\n  hint: did you mean rpi")
    assert not Path("m.edge").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("compile", "m.onnx", "-o", "taken"),
        ("sparsify", "m.onnx", "--pattern", "unstructured", "--sparsity", "0.5", "-o", "taken"),
        ("run", "zero.edge", "--input", "x.npz", "--output", "taken"),
        ("export", "models.py:net", "-o", "taken"),
    ],
)
def test_what_exists_asks_for_force(call: Call, bundle: Path, x_npz: Path, arguments: tuple[str, ...]) -> None:
    Path("taken").write_text("mine")
    code, _, err = call(*arguments)
    assert code == 2 and err.startswith("error: taken: exists already\n  hint: --force replaces it")
    assert Path("taken").read_text() == "mine"


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("devices",), ("devices", "--json")])
def test_a_reader_who_has_seen_enough(arguments: tuple[str, ...]) -> None:
    assert unread(*arguments) == (141, "")


@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_output_that_the_shell_closed(closed: str) -> None:
    """Nothing is printed to a file that was opened since, and it is no error, as for other programs."""
    for command, code in (("devices", 0), ("compile no-such.onnx", 2)):
        done = subprocess.run(f"{sys.executable} -m edgesparse {command} {closed}", shell=True, capture_output=True)
        assert (done.returncode, done.stdout) == (code, b"")
        assert b"Traceback" not in done.stderr and (done.stderr != b"") == (code == 2 and "2>" not in closed)


def test_only_what_nobody_reads_ends_without_a_word() -> None:
    broken = BrokenPipeError(32, "Broken pipe")  # of a device: stdout is well
    with pytest.raises(BrokenPipeError) as caught:
        end_unread(broken)
    assert caught.value is broken


def test_hints_name_the_option_alone() -> None:
    refused = InputError("exists", where="a=b (--c)", hint="force=True (--force), or runtime='qemu' (--runtime qemu)")
    assert as_typed(str(refused)) == "a=b (--c): exists\n  hint: --force, or --runtime qemu"


def test_the_exit_codes_are_explained(call: Call) -> None:
    _, out, _ = call("--help")
    assert "Exit codes: 0 ok, 1 a bug of ours, 2 bad usage" in " ".join(out.split())


def test_only_the_kernels_this_machine_can_run_are_listed(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    old = host(machine="x86_64").model_copy(update={"features": ("avx2", "fma")})
    monkeypatch.setattr("edgesparse.devices.host.host", lambda: old)
    _, out, _ = call("devices")
    assert "avx2 sse2" in out and "avx512" not in out
    code, out, _ = call("devices", "--json")
    assert code == 0 and json.loads(out)[0]["isas"] == ["avx512", "avx2", "sse2"], "what is compiled"


def test_what_libraries_log_is_not_printed(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        logging.getLogger("onnx_ir.passes").warning("Shape inference failed: %s", "Traceback")
        raise InputError("the message")

    monkeypatch.setattr("edgesparse.importer.load", load)
    assert call("inspect", "m.onnx")[2] == "error: the message\n"


def test_missing_folder(call: Call, bundle: Path, x_npz: Path) -> None:
    code, _, err = call("run", bundle, "--input", x_npz, "--output", "no/y.npz")
    assert code == 2 and "no such folder" in err


def test_run_writes_the_outputs(call: Call, bundle: Path, x_npz: Path) -> None:
    code, out, _ = call("run", bundle, "--input", x_npz, "--output", "y.npz", "--runtime", "null", "--each")
    assert code == 0 and "y.npz" in out
    with np.load("y.npz") as written:
        assert written.files == ["y"] and written["y"].shape == (5, 3)
    assert sorted(p.name for p in Path().iterdir()) == ["x.npz", "y.npz", "zero.edge"]


def test_run_takes_npy_for_one_input(call: Call, bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1, 4), np.float32))
    code, out, _ = call("run", bundle, "--input", "x.npy", "--output", "y.npz", "--runtime", "null", "--json")
    assert code == 0 and json.loads(out)["outputs"] == {"y": {"shape": [1, 3], "dtype": "float32"}}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": np.ones((1, 4), np.float32)}, "holds image, but the inputs of the model are x"),
        ({"x": np.ones((1, 4), np.float32), "label": np.ones(1)}, "holds x, label, but"),
        ({"x": np.ones((2, 4), np.float32)}, "expected float32 [1, 4], got float32 [2, 4]"),
        ({"x": np.ones((1, 4))}, "got float64"),
    ],
)
def test_inputs_that_do_not_fit(call: Call, bundle: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez("bad.npz", **arrays)
    code, _, err = call("run", bundle, "--input", "bad.npz", "--output", "y.npz", "--runtime", "null")
    assert code == 2 and message in err and not Path("y.npz").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no", b"text", b"\x93NUMPY\x01\x00"])
def test_inputs_that_are_no_numpy_file(call: Call, bundle: Path, content: bytes) -> None:
    Path("bad.npz").write_bytes(content)
    code, _, err = call("run", bundle, "--input", "bad.npz", "--output", "y.npz", "--runtime", "null")
    assert code == 2 and ("bad.npz: not a NumPy file" in err or "bad.npz: damaged NumPy file" in err)
    assert "pickle" not in err and "hint: numpy.savez('bad.npz', **inputs) writes one" in err


def test_a_pickle_is_not_loaded(call: Call, bundle: Path) -> None:
    np.save("bad.npy", np.array([{"a": 1}]), allow_pickle=True)
    code, _, err = call("run", bundle, "--input", "bad.npy", "--output", "y.npz", "--runtime", "null")
    assert code == 2 and "bad.npy: holds Python objects, not numbers" in err and "pickle" not in err


def test_a_full_disk_leaves_nothing(call: Call, bundle: Path, x_npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numpy.lib.format.write_array", full)
    code, _, err = call("run", bundle, "--input", x_npz, "--output", "y.npz", "--runtime", "null", "--each")
    assert code == 2 and err.startswith("error: y.npz: could not be written: no space left on device\n  hint: free")
    assert sorted(p.name for p in Path().iterdir()) == ["x.npz", "zero.edge"]


def test_bench(call: Call, bundle: Path) -> None:
    code, out, _ = call("bench", bundle, "--runtime", "null", "--num-runs", "7", "--warmup-runs", "0", "--json")
    result = json.loads(out)
    assert code == 0 and result["wall_ns"] == [1000] * 7
    figures = {k: result[k] for k in ("count", "min", "median", "mean", "p90", "max", "std")}
    assert figures == {"count": 7, "min": 1e-3, "median": 1e-3, "mean": 1e-3, "p90": 1e-3, "max": 1e-3, "std": 0}
    code, out, _ = call("bench", bundle, "--runtime", "null")
    assert code == 0 and all(word in out for word in ("count", "median", "p90", "std", " 50 "))


def test_compare_agrees_and_disagrees(call: Call, bundle: Path, x_npz: Path, tmp_path: Path) -> None:
    zero, one = _onnx(tmp_path / "zero.onnx", 0), _onnx(tmp_path / "one.onnx", 1)
    options = (bundle, "--input", x_npz, "--runtime", "null", "--each")
    code, out, err = call("compare", zero, *options, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["outputs"] == [
        {"name": "y", "max_abs": 0, "max_rel": 0, "agree": 5, "rows": 5, "within": True}
    ]
    code, out, err = call("compare", one, *options)
    assert code == 5 and "5 of 5" in out and err.startswith(f"error: {bundle}: 1 of 1 outputs differ by more than")
    assert call("compare", one, *options, "--tolerance", "1")[0] == 0


def test_compare_with_another_model(call: Call, bundle: Path, x_npz: Path, tmp_path: Path) -> None:
    other = _onnx(tmp_path / "other.onnx", 0, ("image", "y"))
    code, _, err = call("compare", other, bundle, "--input", x_npz, "--runtime", "null", "--each")
    assert code == 2 and "inputs image" in err
    Path("no.onnx").write_text("no model")
    code, _, err = call("compare", "no.onnx", bundle, "--input", x_npz, "--runtime", "null", "--each")
    assert code == 2 and "onnxruntime cannot load the model" in err


def test_compare_reports_the_error_of_onnxruntime_once(call: Call, bundle: Path, x_npz: Path) -> None:
    """A model that fails while it runs: 4 values reshaped to 3."""
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"], "broken")]
    proto = model(nodes, [f32("x", "n", "m")], [f32("y", 1, 3)], {"s": np.array([1, 3])})
    onnx.save(proto, "m.onnx")
    code, _, err = call("compare", "m.onnx", bundle, "--input", x_npz, "--runtime", "null", "--each")
    assert code == 2 and err.startswith("error: m.onnx: onnxruntime cannot run the model: ") and "Reshape" in err
    assert err.count("\n") == 1


def test_not_a_bundle(call: Call, x_npz: Path) -> None:
    code, _, err = call("bench", "nowhere.edge")
    assert code == 2 and err.startswith("error: nowhere.edge: not a bundle")


def test_a_bug_keeps_its_traceback(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("edgesparse.samples.random_inputs", broken)
    monkeypatch.setattr(sys, "argv", ["edgesparse", "bench", str(bundle), "--runtime", "null"])
    with pytest.raises(KeyError, match="a bug"):
        cli.main()


def test_parse_shapes() -> None:
    assert parse_shapes(["x=1,3,224,224", "a=b=2x4"]) == {"x": (1, 3, 224, 224), "a=b": (2, 4)}
    for bad in ("x", "=1,2", "x=", "x=1,a", "x=1,-1", "x=0"):
        with pytest.raises(InputError, match="is not NAME="):
            parse_shapes([bad])
    with pytest.raises(InputError, match="twice"):
        parse_shapes(["x=1", "x=2"])
