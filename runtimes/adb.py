"""Runs the program of a bundle on an Android device, through the program adb. Times are those of the device."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edgesparse.errors import RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.runtimes.adb_client import adb_program, choose, complaint, start
from edgesparse.runtimes.device import QUESTION_S, DeviceSession, OnPush, answer, printable
from edgesparse.runtimes.lines import OnLine
from edgesparse.runtimes.program import DEFAULT_TIMEOUT_S, Finished

KINDS = ("executable",)
TARGET = "serial"
STORE = "/data/local/tmp/edgesparse"
ARCHITECTURES = {"arm64-v8a": "aarch64", "armeabi-v7a": "arm", "x86_64": "x86_64", "x86": "x86"}
FACTS = {
    "device": "ro.product.model", "soc": "ro.soc.model", "android": "ro.build.version.release",
    "abi": "ro.product.cpu.abi",
}  # fmt: skip
LONGEST_GREETING_BYTES = 1 << 16  # of a shell that should say "ready"
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
    return AdbLink(adb, choose(adb, serial or os.environ.get("ANDROID_SERIAL", "")))


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
        said = answer(self, "; ".join(f"getprop {name}" for name in FACTS.values()))
        lines = [printable(line) for line in said.splitlines()]
        facts = dict(zip(FACTS, [*lines, *[""] * len(FACTS)], strict=False))
        if facts["device"]:
            self.description = f"{facts['device']} ({self.serial})"
        return facts

    def run(self, command: str, timeout_s: float, on_line: OnLine | None = None) -> Finished:
        marked = f"({command}); printf '\\n%s' {MARK.decode().strip()}$?"
        done = start([*self._adb, "shell", "-T", marked], timeout_s, on_line=on_line)
        stdout, mark, code = done.stdout.rpartition(MARK)
        if not mark or not code.isdigit() or len(code) > 3:
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
            done = start([*self._adb, *arguments], timeout_s, meanwhile)
        except TimeoutError as error:
            raise self._failure(
                f"adb {arguments[0]} did not finish within {timeout_s:g} s", "raise timeout_s"
            ) from error
        if done.exit_code != 0:
            raise self._broken(when, done)
        return done

    def _broken(self, when: str, done: Finished) -> RuntimeFailure:
        words = complaint(done)
        if "no space left" in words.lower():
            return self._failure("no space left on the device", f"free some space for {STORE} there")
        with contextlib.suppress(TimeoutError):
            if start([*self._adb, "get-state"], QUESTION_S).stdout.strip() == b"device":
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
            if not more or len(said) > LONGEST_GREETING_BYTES:
                self._client.kill()
                self.finish()
                if not said or said.startswith(ADB_SAYS):
                    raise link._broken("before anything was copied", Finished(1, said, b""))
                raise link._failure(complaint(Finished(1, said, b"")))

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
