"""Runs the program of a bundle on another machine: what the runtimes adb and ssh share.

On the device there is one folder, the *store* (``/data/local/tmp/edgesparse``, ``~/.cache/edgesparse``). In it lie the
program and the weights, under the SHA-256 of their content, and a folder for each session with inputs and outputs.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from edgesparse.errors import RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.runtimes.files import read_verified
from edgesparse.runtimes.lines import OnLine, last_line
from edgesparse.runtimes.program import Finished, ProgramSession, ports
from edgesparse.runtimes.session import thread_count

PROGRAM, WEIGHTS = "model", "weights.bin"
QUESTION_S = 30.0  # the longest that a question to the device may take


OnPush = Callable[[int, int, str], None]
"""Called while files are copied to a device, with bytes that are there, bytes in all, and a word on what happens."""
LONGEST_OUTPUT_BYTES = 1 << 27  # of one command; a profile of many runs has some millions
LONGEST_WORDS = 500  # of what a device says that a person gets to read


def printable(said: bytes | str, longest: int = LONGEST_WORDS) -> str:
    """What a device said as one line of at most ``longest`` characters, with nothing in it that a terminal obeys."""
    text = (said[: 8 * longest].decode(errors="replace") if isinstance(said, bytes) else said)[: 4 * longest]
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def too_long(device: str) -> RuntimeFailure:
    """Of a command that prints more than `LONGEST_OUTPUT_BYTES`."""
    what = f"printed more than {LONGEST_OUTPUT_BYTES >> 20} MB and was stopped"
    return RuntimeFailure(what, where=device, hint="this is no answer of ours: restart the device")


class Guard(Protocol):
    """A shell on the device that lives as long as the session, and sees its input end when the link breaks."""

    def tell(self, line: str) -> None:
        """Write a line to it. Raises RuntimeFailure where the link is broken."""

    def finish(self) -> Finished | None:
        """End its input and wait for it; None where the link is broken. Only the first call does anything."""


class Link(Protocol):
    """A way to a device. Every method raises RuntimeFailure where the link is broken.

    ``description`` names the device in errors. ``disk`` is a folder on the disk of the store, as a word of its sh.
    """

    description: str
    disk: str

    def run(self, command: str, timeout_s: float, on_line: OnLine | None = None) -> Finished:
        """Run ``command``, one line, in the device's sh. Raises TimeoutError; the command may then still run.

        ``on_line`` is called in this thread, while the command runs, with each line that it has ended on stdout. What
        that raises is raised here; the command may then still run, too.
        """

    def push(self, files: Sequence[Path], folder: str, timeout_s: float, on_push: OnPush | None = None) -> None:
        """Copy files into a folder of the device. Raises RuntimeFailure where that fails or takes too long."""

    def pull(self, names: Sequence[str], folder: str, into: Path, timeout_s: float) -> None:
        """Copy files of a folder of the device. Raises RuntimeFailure where that fails or takes too long."""

    def guard(self, command: str) -> Guard:
        """Start ``command`` and wait for its line ``ready``. Raises RuntimeFailure where it ends instead."""

    def close(self) -> None:
        """Let go of the device; closing twice is harmless."""


def answer(link: Link, question: str) -> bytes:
    """What a question prints, whatever its exit code. Raises RuntimeFailure where there is none in time."""
    try:
        return link.run(question, QUESTION_S).stdout
    except TimeoutError as error:
        what = f"no answer within {QUESTION_S:g} s"
        raise RuntimeFailure(what, where=link.description, hint="look whether it is busy, or restart it") from error


class DeviceSession(ProgramSession):
    """A bundle on a device.

    A file is pushed into the session's folder and moved into the store once its SHA-256 is right, so that nothing
    half-pushed is ever used; one that is there already is not pushed again. `close` removes what this session pushed,
    unless ``keep``, and its folder in any case.

    The removing is done by a shell that waits on the device for its input to end (`Guard`): when the session is closed,
    but also when the cable is unplugged or this process killed. It kills the program, too, should it still run.
    """

    OWN_PROGRAM = True

    def __init__(
        self, bundle: Path, manifest: Manifest, machine: Mapping[str, str], link: Link, store: str, *,
        threads: int, timeout_s: float, keep: bool, on_push: OnPush | None = None,
    ) -> None:  # fmt: skip
        """Push what is missing.

        Args:
            store: an absolute path on the device. The folder that holds it is made, too, and removed again.
            threads: how many run the model; 0: one for each CPU of the device.
            timeout_s: the longest that one transfer or one call of the program may take.
            keep: leave program and weights there, for the next time.
            on_push: told how far the copying of program and weights is.

        Raises:
            RuntimeFailure: the device refuses a file, or the bundle is damaged.
            InputError: more threads than CPUs.
        """
        super().__init__(bundle, manifest, machine, [], timeout_s=timeout_s)
        names = (PROGRAM, WEIGHTS) if manifest.weights_bytes else (PROGRAM,)
        self._bytes = {name: len(read_verified(bundle, manifest, name)) for name in names}
        self._store, self._link, self._keep = store, link, keep
        self._folder = f"{store}/run-{uuid4().hex}"
        self._guard: Guard | None = None
        self._calls = 0
        # A device that says nothing of its CPUs leaves the checking to the program.
        cpus = self._ask("nproc 2>/dev/null; true").strip()
        if re.fullmatch("[0-9]{1,4}", cpus):
            threads = thread_count(threads, int(cpus))
        self.machine["threads"] = str(threads)
        command = [f"{store}/{manifest.files[PROGRAM]}", "--threads", str(threads)]
        if manifest.weights_bytes:
            command += ["--weights", f"{store}/{manifest.files[WEIGHTS]}"]
        self._command = self._bench_command = tuple(command)
        try:
            self._guard = link.guard(_guard_command(store, self._folder))
            self._provide("sha256sum", on_push)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        done = self._guard.finish() if self._guard is not None else None
        self._guard = None
        self._link.close()
        if done is not None and done.exit_code != 0:
            words = printable(done.stdout + done.stderr)
            raise self._failure(f"what this session left in {self._store} could not be removed: {words}")

    def _run(
        self, folder: Path, arguments: Sequence[str], inputs: Sequence[str], outputs: Sequence[str],
        on_line: OnLine | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        if self._guard is None:
            raise self._failure("the session is closed")
        # A folder for each call, so that outputs can only be its own. Then: somebody may have cleared the store.
        here, self._calls = shlex.quote(self._folder), self._calls + 1
        call = f"{self._folder}/call{self._calls}"
        self._ask(f"cd {here} && rm -rf call* && mkdir {shlex.quote(call)}")
        self._provide("true")
        if inputs:
            self._link.push([folder / name for name in inputs], call, self._timeout_s)
        program = shlex.join([*arguments, *ports(call, inputs, outputs)])
        # In the background, for its number: the program may have to be killed. Where the disk has no room for that,
        # it is at once.
        command = (
            f"{_kill(self._folder)}; cd {here} || exit; "
            f"{program} </dev/null & p=$!; echo $p >pid && [ -s pid ] || {{ kill -9 $p; "
            "echo 'a file of some bytes could not be written: is there no space left?' >&2; exit 4; }; "
            "wait $p; code=$?; rm -f pid; exit $code"
        )
        try:
            done = self._link.run(command, self._timeout_s, on_line)
        except TimeoutError as error:
            self._ask(_kill(self._folder))
            raise self._late("the program") from error
        except RuntimeFailure:
            raise
        except BaseException:  # of on_line, or Control-C: the program would go on until the session is closed
            with contextlib.suppress(RuntimeFailure):
                self._ask(_kill(self._folder))
            raise
        if on_line is not None:
            done = done._replace(stdout=last_line(done.stdout))
        facts = self._facts(done)
        if outputs:
            self._link.pull(outputs, call, folder, self._timeout_s)
        return facts

    def _provide(self, digest: str, on_push: OnPush | None = None) -> None:
        """Push what the store does not hold. ``digest`` is the program that tells the content of files there, or true,
        with which their size is enough."""
        wanted = {self.manifest.files[name]: name for name in self._bytes}
        missing = self._unlike({key: f"{self._store}/{key}" for key in wanted}, digest)
        if not missing:
            return
        names = [wanted[key] for key in missing]
        self._link.push([self.bundle.absolute() / name for name in names], self._folder, self._timeout_s, on_push)
        damaged = self._unlike({key: f"{self._folder}/{wanted[key]}" for key in missing}, "sha256sum")
        if damaged:
            raise self._failure(
                f"{wanted[damaged[0]]} arrived damaged: its SHA-256 is not the one in the manifest", "try again"
            )
        for key in missing:
            assert self._guard is not None
            if not self._keep:
                self._guard.tell(key)
            pushed, mode = shlex.quote(f"{self._folder}/{wanted[key]}"), "700" if wanted[key] == PROGRAM else "600"
            self._ask(f"chmod {mode} {pushed} && mv -f {pushed} {shlex.quote(f'{self._store}/{key}')}")

    def _unlike(self, paths: Mapping[str, str], digest: str) -> list[str]:
        """Those SHA-256 whose file on the device is missing, or has another size or content."""
        # A device without sha256sum says nothing behind the size, which must then do.
        command = "exec 2>/dev/null; "
        for key, path in paths.items():
            command += f'f={shlex.quote(path)}; [ -f "$f" ] && echo {key} $(wc -c <"$f") $({digest} <"$f"); '
        said = self._ask(f"{command}true", max(QUESTION_S, self._timeout_s))
        right = set()
        for name in self._bytes:
            key = self.manifest.files[name]
            if re.search(rf"^{key} {self._bytes[name]}( {key} .*)?$", said, re.MULTILINE):
                right.add(key)
        return [key for key in paths if key not in right]

    def _ask(self, command: str, timeout_s: float = QUESTION_S) -> str:
        """What a command prints. Raises RuntimeFailure where it fails."""
        try:
            done = self._link.run(command, timeout_s)
        except TimeoutError as error:
            raise self._failure(f"no answer within {timeout_s:g} s") from error
        if done.exit_code != 0:
            raise self._failure(printable(done.stderr) or f"`{command}` failed")
        return done.stdout.decode(errors="replace")

    def _why_killed(self, number: int) -> str:
        if number == signal.SIGKILL:
            return "perhaps the device ran out of memory: close other programs, or compile a smaller model"
        if number != signal.SIGILL:
            return super()._why_killed(number)
        has = printable(self._ask("grep -m 1 -i ^features /proc/cpuinfo; true").partition(":")[2]) or "unknown"
        compiled = ", ".join(self.manifest.isas)
        return f"its HWCAP are {has}; the bundle was compiled for {self.manifest.device} ({compiled}): choose --device"

    def _failure(self, what: str, hint: str = "") -> RuntimeFailure:
        if "no space left" in what.lower():
            hint = f"free some space for {self._store} there"
        return RuntimeFailure(printable(what), where=f"{self.bundle} on {self._link.description}", hint=hint)

    @property
    def link(self) -> Link:
        """The way to the device, for other questions while the session is open."""
        return self._link

    def temperatures(self) -> dict[str, float]:
        said = self._ask('for z in /sys/class/thermal/thermal_zone*; do echo "$(cat $z/temp) $(cat $z/type)"; done '
                         "2>/dev/null; true")  # fmt: skip
        found: dict[str, float] = {}
        for degrees, zone in re.findall(r"^(-?\d{1,9}) ([^\n]{1,64})$", said, re.MULTILINE):
            name = "".join(c if c.isprintable() else "?" for c in zone)
            found[name] = max(found.get(name, -273.0), int(degrees) / 1e3)
        return found


def _kill(folder: str) -> str:
    """Ends the program whose number is in ``folder``, if there is one: it is still running."""
    pid = shlex.quote(f"{folder}/pid")
    return f"if [ -s {pid} ]; then kill -9 $(cat {pid}); rm -f {pid}; fi"


def _guard_command(store: str, folder: str) -> str:
    """Makes the session's folder; at the end of its input kills the program, and removes the folder and every file of
    the store whose name it was told. Those are digests, and need no quotes.

    The store goes, too, where no other session has a file in it, and with it the folder around it, where that was made
    for it: a file says so, because the session that made it may not be the last.
    """
    kill = _kill(folder)
    parent, store, folder = shlex.quote(store.rpartition("/")[0]), shlex.quote(store), shlex.quote(folder)
    return "; ".join([
        # adbd sends a hang-up when the cable is unplugged
        "trap '' HUP INT TERM PIPE", "exec 2>&1", "umask 077",
        f"made=; mkdir {parent} 2>/dev/null && made=yes",
        f"mkdir -p {folder} || exit 3",
        f'[ -n "$made" ] && : >{store}/made', "echo ready",
        "set --", 'while read -r name; do set -- "$@" "$name"; done',
        kill,
        # a program that is being killed may still make a file
        f"rm -rf {folder} 2>/dev/null || {{ sleep 1; rm -rf {folder}; }} || exit 4",
        f'cd {store} || exit 0; for name in "$@"; do rm -f "$name" || exit 4; done',
        '[ "$(ls -A)" = made ] && rm -f made && made=last', "cd /",
        f'rmdir {store} 2>/dev/null && [ "$made" = last ] && rmdir {parent}', "exit 0",
    ])  # fmt: skip
