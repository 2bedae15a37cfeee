"""Runs the program of a bundle on an Android device, through the program adb. Times are those of the device."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from edgesparse.errors import RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.runtimes.device import QUESTION_S, DeviceSession, OnPush, printable
from edgesparse.runtimes.program import DEFAULT_TIMEOUT_S, Finished

KINDS = ("executable",)
TARGET = "serial"
STORE = "/data/local/tmp/edgesparse"
INSTALL = "apt-get install adb, or pip install adbutils, which brings one, or set $ADB to where it is"
ARCHITECTURES = {"arm64-v8a": "aarch64", "armeabi-v7a": "arm", "x86_64": "x86_64", "x86": "x86"}
FACTS = {
    "device": "ro.product.model", "soc": "ro.soc.model", "android": "ro.build.version.release",
    "abi": "ro.product.cpu.abi",
}  # fmt: skip
LOOK_S = 1.0  # how often a push looks how much is there: to a pipe, adb says nothing of it
SETTLE_S = 2.0  # how long a device may take to be recognised after the server has started
ADB_SAYS = (b"error: ", b"adb: ")
# Behind all that a command prints comes its exit code: when the device goes away, adb 29 ends with 0, adb 36 with 255.
MARK = b"\nedgesparse-exit:"


def open(
    bundle: Path, manifest: Manifest, *, serial: str = "", threads: int = 1, timeout_s: float = DEFAULT_TIMEOUT_S,
    keep: bool = False, on_push: OnPush | None = None,
) -> DeviceSession:  # fmt: skip
    """Find adb ($ADB, $PATH, the Python package adbutils) and the device, and push what it does not have yet.

    Args:
        serial: as `adb devices` lists it; not needed where there is one device, or $ANDROID_SERIAL is set.
        threads: how many run the model; 0: one for each CPU of the device.
        timeout_s: the longest that one transfer or one call of the program may take.
        keep: leave program and weights on the device, where the next session finds them.
        on_push: told how far the copying of program and weights is.

    Raises:
        RuntimeFailure: no adb, no such device, it does not allow this computer in, has another CPU, or the bundle is
            damaged.
        InputError: more threads than CPUs.
    """
    link = connect(serial)
    facts = link.facts()
    needed = manifest.triple.split("-")[0]
    if ARCHITECTURES.get(facts["abi"]) != needed:
        raise RuntimeFailure(
            f"runs programs for {facts['abi'] or 'nothing it tells of'}, but the bundle was compiled for {needed}",
            where=link.description, hint="choose another device with --runtime adb:SERIAL; `adb devices -l` lists them",
        )  # fmt: skip
    machine = {"runtime": "adb", **facts, "serial": link.serial, "timing": "on the device"}
    return DeviceSession(
        bundle, manifest, machine, link, STORE, threads=threads, timeout_s=timeout_s, keep=keep, on_push=on_push
    )


def connect(serial: str = "") -> AdbLink:
    """The device with that serial; "": that of $ANDROID_SERIAL, or the only one. Raises RuntimeFailure as `open`."""
    adb = adb_program()
    return AdbLink(adb, _choose(adb, serial or os.environ.get("ANDROID_SERIAL", "")))


class AdbLink:
    """A device that adb reaches. Nothing is held between calls."""

    disk = STORE.rpartition("/")[0]

    def __init__(self, adb: str, serial: str) -> None:
        self.serial = serial
        self.description = f"device {serial}"
        self._adb = [adb, "-s", serial]
        done = self._call(["features"], QUESTION_S, "asking for its features")
        if "shell_v2" not in done.stdout.decode(errors="replace").split():
            raise self._failure("its adb tells no exit codes", "Android 7 and newer do")

    def facts(self) -> dict[str, str]:
        """Model, SoC, Android version and ABI, as the device tells them; "" where it does not."""
        done = self.run("; ".join(f"getprop {name}" for name in FACTS.values()), QUESTION_S)
        lines = [printable(line) for line in done.stdout.splitlines()]
        facts = dict(zip(FACTS, [*lines, *[""] * len(FACTS)], strict=False))
        if facts["device"]:
            self.description = f"{facts['device']} ({self.serial})"
        return facts

    def run(self, command: str, timeout_s: float) -> Finished:
        done = _start([*self._adb, "shell", "-T", f"({command}); printf '\\n%s' {MARK.decode().strip()}$?"], timeout_s)
        stdout, mark, code = done.stdout.rpartition(MARK)
        if not mark or not code.isdigit():
            raise self._broken("while it ran a command", done)
        return Finished(int(code), stdout, done.stderr)

    def push(self, files: Sequence[Path], folder: str, timeout_s: float, on_push: OnPush | None = None) -> None:
        total, there = sum(file.stat().st_size for file in files), [f"{folder}/{file.name}" for file in files]

        def look() -> None:
            # what is wrong with the link then, the push itself will say
            with contextlib.suppress(RuntimeFailure, TimeoutError):
                done = self.run(f"stat -c %s {shlex.join(there)} 2>/dev/null; true", QUESTION_S)
                sizes = [int(word) for word in done.stdout.split()[: len(there)] if word.isdigit()]
                if on_push is not None:
                    on_push(min(sum(sizes), total), total, "sending bytes")

        arguments = ["push", *map(str, files), f"{folder}/"]
        self._call(arguments, timeout_s, "while files were copied to it", None if on_push is None else look)

    def pull(self, names: Sequence[str], folder: str, into: Path, timeout_s: float) -> None:
        paths = [f"{folder}/{name}" for name in names]
        self._call(["pull", *paths, str(into)], timeout_s, "while outputs were copied from it")

    def guard(self, command: str) -> _AdbGuard:
        return _AdbGuard([*self._adb, "shell", "-T", command], self)

    def close(self) -> None:
        pass

    def _call(
        self, arguments: Sequence[str], timeout_s: float, when: str, meanwhile: Callable[[], None] | None = None
    ) -> Finished:
        try:
            done = _start([*self._adb, *arguments], timeout_s, meanwhile)
        except TimeoutError as error:
            raise self._failure(
                f"adb {arguments[0]} did not finish within {timeout_s:g} s", "raise timeout_s"
            ) from error
        if done.exit_code != 0:
            raise self._broken(when, done)
        return done

    def _broken(self, when: str, done: Finished) -> RuntimeFailure:
        words = _words(done)
        if "no space left" in words.lower():
            return self._failure("no space left on the device", f"free some space for {STORE} there")
        with contextlib.suppress(TimeoutError):
            if _start([*self._adb, "get-state"], QUESTION_S).stdout.strip() == b"device":
                return self._failure(f"adb failed {when}: {words}")
        return self._failure(
            f"the device was disconnected {when} ({words})",
            "plug it in again and look whether `adb devices` lists it; what was copied is removed by the device itself",
        )

    def _failure(self, what: str, hint: str = "") -> RuntimeFailure:
        return RuntimeFailure(what, where=self.description, hint=hint)


class _AdbGuard:
    """See `device.Guard`: a client of adb. Its input ends with this process, however that ends."""

    def __init__(self, command: Sequence[str], link: AdbLink) -> None:
        self._link, self._open = link, True
        self._client = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
            start_new_session=True,  # Control-C is for this process, which then ends the input
        )  # fmt: skip
        said, end = b"", time.monotonic() + QUESTION_S
        assert self._client.stdout is not None
        while b"ready\n" not in said:
            there, _, _ = select.select([self._client.stdout], [], [], max(0.0, end - time.monotonic()))
            more = self._client.stdout.read(4096) if there else b""
            said += more
            if not more:
                self.finish()
                if not said or said.startswith(ADB_SAYS):
                    raise link._broken("before anything was copied", Finished(1, said, b""))
                raise link._failure(_words(Finished(1, said, b"")))

    def tell(self, line: str) -> None:
        assert self._client.stdin is not None
        try:
            self._client.stdin.write(f"{line}\n".encode())
        except OSError as error:
            raise self._link._broken("while files were copied to it", Finished(1, b"", b"")) from error

    def finish(self) -> Finished | None:
        if not self._open:
            return None
        self._open = False
        try:
            said, _ = self._client.communicate(timeout=QUESTION_S)
        except subprocess.TimeoutExpired:
            self._client.kill()
            self._client.communicate()
            return None
        lost = self._client.returncode == 255 or said.startswith(ADB_SAYS)
        return None if lost else Finished(self._client.returncode, said, b"")


def _start(command: Sequence[str], timeout_s: float, meanwhile: Callable[[], None] | None = None) -> Finished:
    """Run adb, and ``meanwhile`` every `LOOK_S` until it ends. Raises TimeoutError."""
    end, none = time.monotonic() + timeout_s, subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=none, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise RuntimeFailure(f"{command[0]} cannot be started: {error.strerror}", hint=INSTALL) from error
    with process:
        try:
            while True:
                left = max(0.0, end - time.monotonic())
                try:
                    said = process.communicate(timeout=left if meanwhile is None else min(left, LOOK_S))
                    return Finished(process.returncode, *said)
                except subprocess.TimeoutExpired as error:
                    if meanwhile is None or time.monotonic() >= end:
                        raise TimeoutError from error
                    meanwhile()
        except BaseException:
            process.kill()
            raise


def _words(done: Finished) -> str:
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


def _choose(adb: str, serial: str) -> str:
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
        done = _start([adb, "devices"], QUESTION_S)
    except TimeoutError as error:
        raise RuntimeFailure(
            f"adb did not answer within {QUESTION_S:g} s", hint="adb kill-server, then again"
        ) from error
    if done.exit_code != 0:
        raise RuntimeFailure(
            f"adb's server cannot be started: {_words(done)}",
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
