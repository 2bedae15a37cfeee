"""The program adb: where it is, how it is run, and which devices it lists; what the runtime adb is made of."""

from __future__ import annotations

import importlib.util
import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from edgesparse.errors import RuntimeFailure
from edgesparse.runtimes.device import LONGEST_OUTPUT_BYTES, QUESTION_S, printable, too_long
from edgesparse.runtimes.lines import Lines, OnLine
from edgesparse.runtimes.program import Finished

INSTALL = "apt-get install adb, or pip install adbutils, which brings one, or set $ADB to where it is"
LOOK_S = 1.0  # how often `start` lets somebody look how far it is: to a pipe, adb says nothing of that
SETTLE_S = 2.0  # how long a device may take to be recognised after the server has started


def start(
    command: Sequence[str], timeout_s: float, meanwhile: Callable[[], None] | None = None,
    on_line: OnLine | None = None,
) -> Finished:  # fmt: skip
    """Run adb to its end, and ``meanwhile`` about every `LOOK_S`. ``on_line`` gets each line of stdout as it comes.

    Raises:
        TimeoutError: it took longer.
        RuntimeFailure: it cannot be started, or prints without end.
    """
    end = time.monotonic() + timeout_s
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise RuntimeFailure(f"{command[0]} cannot be started: {error.strerror}", hint=INSTALL) from error
    with process, selectors.DefaultSelector() as waiting:
        said = {pipe.fileno(): bytearray() for pipe in (process.stdout, process.stderr) if pipe is not None}
        for pipe in said:
            waiting.register(pipe, selectors.EVENT_READ)
        stdout, lines = next(iter(said)), None if on_line is None else Lines(on_line)
        try:
            while waiting.get_map():
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                ready = waiting.select(left if meanwhile is None else min(left, LOOK_S))
                if not ready and meanwhile is not None:
                    meanwhile()
                for key, _ in ready:
                    more = os.read(key.fd, 1 << 16)
                    said[key.fd] += more
                    if lines is not None and key.fd == stdout:
                        lines.feed(more)
                    if not more:
                        waiting.unregister(key.fd)
                if sum(map(len, said.values())) > LONGEST_OUTPUT_BYTES:
                    raise too_long("adb")
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise TimeoutError from error
        except BaseException:
            process.kill()
            raise
    return Finished(process.returncode, *map(bytes, said.values()))


def complaint(done: Finished) -> str:
    """The line that says what is wrong. adb 29 prints some of those on stdout, between lines of progress."""
    lines = (done.stdout + b"\n" + done.stderr).decode(errors="replace").strip().splitlines()
    errors = [line for line in lines if "error:" in line] or lines or ["adb says nothing"]
    return printable(errors[-1]).removeprefix("adb: ").removeprefix("error: ")


def adb_program() -> str:
    """Where it is. Raises RuntimeFailure where there is none."""
    chosen = os.environ.get("ADB")
    if path := shutil.which(chosen or "adb"):
        return path
    if chosen:
        raise RuntimeFailure(f"$ADB is {chosen}, which is not a program", hint=INSTALL)
    spec = importlib.util.find_spec("adbutils")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if path := shutil.which("adb", path=str(Path(folder, "binaries"))):
            return path
    raise RuntimeFailure("the program adb is not installed", hint=INSTALL)


class Listed(NamedTuple):
    serial: str
    state: str


def choose(adb: str, serial: str) -> str:
    """The serial of the device to use. Raises RuntimeFailure where there is none, or no choice was made."""
    listed = settled_devices(adb, serial)
    candidates = [d for d in listed if d.serial == serial] if serial else listed
    ready = [d.serial for d in candidates if d.state == "device"]
    if len(ready) == 1:
        return ready[0]
    serials = ", ".join(d.serial for d in listed)
    if ready:
        what, hint = f"several devices are attached: {serials}", f"choose one with --runtime adb:{ready[0]}"
    elif candidates:
        what, hint = not_ready(candidates[0])
    elif serial:
        what = f"no device '{serial}' is attached; there is {serials or 'none'}"
        hint = "`adb devices -l` lists them; one in the network is attached with `adb connect HOST:PORT`"
    else:
        raise no_device()
    raise RuntimeFailure(what, where="adb", hint=hint)


def no_device() -> RuntimeFailure:
    """That adb lists none."""
    hint = (
        "plug it in, allow USB debugging in its developer options, and look whether `adb devices` lists it; "
        "one in the network is attached with `adb connect HOST:PORT`"
    )
    return RuntimeFailure("no device is attached", where="adb", hint=hint)


def settled_devices(adb: str, serial: str = "") -> list[Listed]:
    """What `adb devices` lists once one of them (with ``serial``: that one) is ready, or none is about to be.

    Raises:
        RuntimeFailure: its server cannot be started.
    """
    end = time.monotonic() + SETTLE_S
    while True:
        listed = listed_devices(adb)
        states = [d.state for d in listed if serial in ("", d.serial)]
        passing = any(state in ("offline", "authorizing", "connecting") for state in states)
        if "device" in states or not passing or time.monotonic() > end:
            return listed
        time.sleep(0.1)


def listed_devices(adb: str) -> list[Listed]:
    """What `adb devices` lists. Raises RuntimeFailure where its server cannot be started."""
    try:
        done = start([adb, "devices"], QUESTION_S)
    except TimeoutError as error:
        raise RuntimeFailure(
            f"adb did not answer within {QUESTION_S:g} s", hint="adb kill-server, then again"
        ) from error
    if done.exit_code != 0:
        raise RuntimeFailure(
            f"adb's server cannot be started: {complaint(done)}",
            hint="`adb kill-server; adb start-server` shows why; $ANDROID_ADB_SERVER_PORT may name another port",
        )
    lines = done.stdout.decode(errors="replace").partition("List of devices attached")[2].splitlines()
    return [Listed(*(line.split(None, 1))) for line in lines if len(line.split(None, 1)) == 2]


def not_ready(device: Listed) -> tuple[str, str]:
    """What is wrong with a device that adb lists in another state than ``device``, and what to do."""
    serial, state = device
    if state in ("unauthorized", "authorizing"):
        return (
            f"{serial} has not allowed this computer in",
            "unlock it and confirm 'Allow USB debugging?'; if it does not ask, `adb kill-server` and plug it in again",
        )
    if state in ("offline", "connecting"):
        return f"{serial} is offline: adb sees it, but it does not answer", "`adb reconnect`, or plug it in again"
    if state.startswith("no permissions"):
        return (
            f"this user may not use the USB device {serial}",
            "apt-get install android-sdk-platform-tools-common (udev rules), add yourself to the group plugdev, "
            "and plug it in again",
        )
    return f"{serial} is in the state '{state}'", "start Android on it; `adb devices` must say 'device'"
