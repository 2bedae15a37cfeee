"""The project as a whole: what an installation holds, what importing costs, and how files are named."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest import mock

import pytest

import edgesparse

PROJECT = Path(__file__).resolve().parent.parent
LARGEST_FILE_BYTES = 300_000


def _folders() -> tuple[str, ...]:
    """FOLDERS of setup.py, which is run with a ``setup`` that does nothing."""
    with mock.patch("setuptools.setup"):
        folders: tuple[str, ...] = runpy.run_path(str(PROJECT / "setup.py"))["FOLDERS"]
    return folders


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Paths of the files in git that are there, links included."""
    if shutil.which("git") is None or not (PROJECT / ".git").exists():
        pytest.skip("not a git clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and os.path.lexists(PROJECT / name)]


def _installed_as(name: str) -> str | None:
    """Where a tracked file lies in an installation, or None."""
    if (PROJECT / name).is_symlink():
        return None
    top = name.split("/")[0]
    return name if top == "edgesparse" and "/" in name else f"edgesparse/{name}" if top in _folders() else None


def test_wheel_holds_what_git_holds(tracked: list[str], tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in tracked:
        copy = source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        # without the links: a wheel must not depend on them
        if not (PROJECT / name).is_symlink():
            shutil.copy(PROJECT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"edgesparse-{edgesparse.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        info = {name.split("/", 1)[1] for name in archive.namelist() if ".dist-info/" in name}
    wanted = {path for name in tracked if (path := _installed_as(name)) is not None}
    assert packed == wanted, {"not in the wheel": sorted(wanted - packed), "not in git": sorted(packed - wanted)}
    assert {"licenses/LICENSE", "entry_points.txt"} <= info


@pytest.mark.parametrize("folder", _folders())
def test_folder_is_linked_and_guarded(folder: str) -> None:
    link = PROJECT / "edgesparse" / folder
    assert link.is_symlink() and os.readlink(link) == f"../{folder}"
    package = importlib.import_module(f"edgesparse.{folder}")
    assert package.__name__ == f"edgesparse.{folder}"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    child = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], env=environment, capture_output=True, text=True, check=False
    )
    assert child.returncode == 1 and f"import edgesparse.{folder} instead of {folder}" in child.stderr


def test_import_and_version_load_nothing_heavy() -> None:
    code = (
        "import sys, edgesparse, edgesparse.cli\n"
        "sys.argv = ['edgesparse', '--version']\n"
        "try: edgesparse.cli.main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    version, modules = out.splitlines()
    assert version == f"edgesparse {edgesparse.__version__}"
    heavy = {"torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "numpy", "pydantic", "wasmtime", "ziglang"}
    assert not heavy & set(modules.split())


@pytest.mark.parametrize("name", edgesparse.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(edgesparse, name) is not None and name in dir(edgesparse)


@pytest.mark.parametrize("module", ["compile", "sparsify"])
def test_a_function_is_not_hidden_by_its_module(module: str) -> None:
    code = f"import edgesparse, importlib; importlib.import_module('edgesparse.{module}'); print(edgesparse.{module})"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.startswith("<function ")


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'fly'"):
        _ = edgesparse.fly


def test_no_large_file(tracked: list[str]) -> None:
    large = {name: size for name in tracked if (size := (PROJECT / name).lstat().st_size) > LARGEST_FILE_BYTES}
    assert not large


def test_names_of_files(tracked: list[str]) -> None:
    bad = [n for n in tracked if n.endswith(".py") and not re.fullmatch(r"[a-z0-9_]+\.py", Path(n).name)]
    assert not bad
    vague = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}
    assert not [n for n in tracked if Path(n).name in vague]


def test_no_path_of_one_machine(tracked: list[str]) -> None:
    """A file that names a home or work folder only works where it was written."""
    pattern = re.compile(rb"(?<![\w.])/(?:root|work|home/\w+)/")
    text = [n for n in tracked if Path(n).suffix not in (".onnx", ".npz", ".png") and not (PROJECT / n).is_symlink()]
    assert not [n for n in text if pattern.search((PROJECT / n).read_bytes())]


def test_ci_runs_the_command_of_the_readme(tracked: list[str]) -> None:
    command = "./scripts/test"
    assert f"\n    {command}\n" in (PROJECT / "README.md").read_text()
    assert command in (PROJECT / ".ci/run").read_text()
    for name in (".ci/run", "scripts/test", "scripts/install-test-tools"):
        assert os.access(PROJECT / name, os.X_OK), f"{name} is not executable"


def test_licence() -> None:
    text = (PROJECT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text


def test_temporary_folders_do_not_outlive_a_killed_process() -> None:
    """Those of `workspace` are removed by the next call, a browser's by the shell that guards it; others stay."""
    sources = [*(PROJECT / "edgesparse").glob("*.py"), *(PROJECT / "runtimes").glob("*.py")]
    using = {path.name for path in sources if "TemporaryDirectory" in path.read_text() or "mkdtemp" in path.read_text()}
    assert len(sources) > 100 and using == {"workspace.py", "browser.py"}
