"""A phone for the real adb: its daemon over TCP, in front of an `ArmRoot`.

Speaks what https://android.googlesource.com/platform/packages/modules/adb, protocol.txt and SYNC.TXT, describe:
CNXN, AUTH, OPEN, OKAY, WRTE and CLSE; the services ``shell:``, ``shell,v2,raw:`` and ``sync:`` (STAT, LIST, SEND and
RECV of version 1). Only these are announced, because adb aborts on features that are announced and not there.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from .arm_root import PROPERTIES, ArmRoot
from .faults import Faults

VERSION, LARGEST_BYTES, CHUNK_BYTES = 0x01000001, 1 << 18, 1 << 16
AUTH_TOKEN = 1
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


class AdbDevice:
    """Listens on a free port of the loopback; ``serial`` is how `adb connect` reaches it."""

    def __init__(self, root: ArmRoot) -> None:
        self.root, self.faults = root, Faults()
        self.pushed_bytes = self.pulled_bytes = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.runtime = f"adb:{self.serial}"
        self._connection: _Connection | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def unplug(self) -> None:
        """The cable is out, for good."""
        for end in (self._listener, self._connection.socket if self._connection else None):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # packets are small
                self._connection = _Connection(self, accepted)
                threading.Thread(target=self._connection.serve, daemon=True).start()


class _Gone(Exception):
    """The other side closed the stream, or the cable is out."""


class _Connection:
    def __init__(self, device: AdbDevice, accepted: socket.socket) -> None:
        self.device, self.socket = device, accepted
        self._streams: dict[int, _Stream] = {}
        self._sending = threading.Lock()

    def send(self, command: bytes, arg0: int, arg1: int, data: bytes = b"") -> None:
        (number,) = struct.unpack("<I", command)
        header = struct.pack("<6I", number, arg0, arg1, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF)
        try:
            with self._sending:
                self.socket.sendall(header + data)
        except OSError as error:
            raise _Gone from error

    def serve(self) -> None:
        try:
            while True:
                self._message()
        except (_Gone, OSError):
            pass
        finally:
            for stream in list(self._streams.values()):
                stream.close()

    def _message(self) -> None:
        command, arg0, arg1, length, _, _ = struct.unpack("<4s5I", self._receive(24))
        data = self._receive(length)
        faults = self.device.faults
        if command == b"CNXN" and not faults.silent:
            banner = "".join(f"{name}={PROPERTIES[name]};" for name in ("ro.product.model", "ro.product.device"))
            if faults.unauthorised:
                self.send(b"AUTH", AUTH_TOKEN, 0, os.urandom(20))
            else:
                banner = f"device::{banner}features={faults.features}"
                self.send(b"CNXN", VERSION, LARGEST_BYTES, banner.encode())
        elif command == b"AUTH" and arg0 == 2:  # a signature by a key that the owner has not allowed
            self.send(b"AUTH", AUTH_TOKEN, 0, os.urandom(20))
        elif command == b"OPEN":
            number = len(self._streams) + 1
            stream = self._streams[number] = _Stream(self, number, arg0)
            stream.start(data.rstrip(b"\0").decode())
        elif arg1 in self._streams:
            stream = self._streams[arg1]
            if command == b"WRTE":
                self.send(b"OKAY", arg1, arg0)
                stream.arrived.put(data)
            elif command == b"OKAY":
                stream.acknowledged.release()
            elif command == b"CLSE":
                stream.close()

    def _receive(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self.socket.recv(count - len(parts))
            if not part:
                raise _Gone
            parts += part
        return parts


class _Stream:
    """One service that adb opened, in a thread of its own."""

    def __init__(self, connection: _Connection, number: int, host: int) -> None:
        self.connection, self.number, self.host = connection, number, host
        self.device = connection.device
        self.arrived: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # None: closed
        self.acknowledged = threading.Semaphore(0)
        self._turn = threading.Lock()  # output and errors of a command take turns: a packet is whole
        self._closed = False
        self._rest = b""

    def start(self, service: str) -> None:
        kind, _, argument = service.partition(":")
        options = kind.split(",")
        if options[0] == "shell":
            work = threading.Thread(target=self._serve, args=(self._shell, argument, "v2" in options), daemon=True)
        elif kind == "sync":
            work = threading.Thread(target=self._serve, args=(self._sync,), daemon=True)
        else:
            self.connection.send(b"CLSE", 0, self.host)
            return
        self.connection.send(b"OKAY", self.number, self.host)
        work.start()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.arrived.put(None)
            self.acknowledged.release()
            with contextlib.suppress(_Gone):
                self.connection.send(b"CLSE", self.number, self.host)

    def write(self, data: bytes) -> None:
        for begin in range(0, len(data), CHUNK_BYTES):
            if self._closed:
                raise _Gone
            self.connection.send(b"WRTE", self.number, self.host, data[begin : begin + CHUNK_BYTES])
            self.acknowledged.acquire()

    def read(self, count: int) -> bytes:
        while len(self._rest) < count:
            more = self.arrived.get()
            if more is None:
                raise _Gone
            self._rest += more
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    def _serve(self, work: object, *arguments: object) -> None:
        assert callable(work)
        with contextlib.suppress(_Gone):
            work(*arguments)
        self.close()

    # shell

    def _shell(self, command: str, v2: bool) -> None:
        faults = self.device.faults
        runs = "--json" in command
        pipe = subprocess.PIPE
        errors = pipe if v2 else subprocess.STDOUT
        process = self.device.root.popen(faults.noise or command, stdin=pipe, stdout=pipe, stderr=errors, bufsize=0)
        if runs and faults.unplug_on_run:
            threading.Timer(0.5, self.device.unplug).start()
        readers = [threading.Thread(target=self._forward, args=(process.stdout, STDOUT, v2), daemon=True)]
        if v2:
            readers.append(threading.Thread(target=self._forward, args=(process.stderr, STDERR, v2), daemon=True))
        feeder = threading.Thread(target=self._feed, args=(process, v2), daemon=True)
        for thread in (*readers, feeder):
            thread.start()
        for thread in readers:
            thread.join()
        code = process.wait()
        if v2:
            self.write(_packet(EXIT, bytes([code if code >= 0 else 128 - code])))

    def _forward(self, pipe: object, number: int, v2: bool) -> None:
        assert hasattr(pipe, "read")
        with contextlib.suppress(_Gone, OSError, ValueError):
            while data := pipe.read(CHUNK_BYTES // 2):
                with self._turn:
                    self.write(_packet(number, data) if v2 else data)

    def _feed(self, process: subprocess.Popen[bytes], v2: bool) -> None:
        """What adb sends to the command's input. Where adb goes away, adbd hangs up and closes every pipe."""
        assert process.stdin is not None and process.stdout is not None
        try:
            while True:
                if not v2:
                    process.stdin.write(self.read(1))
                    continue
                number, length = struct.unpack("<BI", self.read(5))
                data = self.read(length)
                if number == CLOSE_STDIN:
                    process.stdin.close()
                elif number == STDIN:
                    process.stdin.write(data)
        except (_Gone, OSError, ValueError):
            self.device.root.hang_up(process)
            with contextlib.suppress(OSError):
                process.stdin.close()

    # sync

    def _sync(self) -> None:
        while True:
            request, length = struct.unpack("<4sI", self.read(8))
            argument = self.read(length).decode()
            if request == b"QUIT":
                return
            if request == b"SEND":
                path, _, mode = argument.rpartition(",")
                self._send(path, int(mode))
            elif request == b"RECV":
                self._recv(self._path(argument))
            elif request == b"STAT":
                self.write(struct.pack("<4s3I", b"STAT", *_facts(self._path(argument))))
            elif request == b"LIST":
                for entry in sorted(self._path(argument).iterdir()):
                    name = entry.name.encode()
                    self.write(struct.pack("<4s4I", b"DENT", *_facts(entry), len(name)) + name)
                self.write(struct.pack("<4s4I", b"DONE", 0, 0, 0, 0))
            else:
                self._fail(f"unknown request {request!r}")
                return

    def _send(self, name: str, mode: int) -> None:
        """A file arrives. Where it cannot be written, it is removed, and read to its end, as adbd does."""
        path, device, faults = self._path(name), self.device, self.device.faults
        failed = ""
        try:
            with path.open("wb") as file:
                for data in self._chunks():
                    time.sleep(faults.slow_push_s)
                    device.pushed_bytes += len(data)
                    if faults.unplug_after_pushed_bytes is not None:
                        file.write(data)
                        if device.pushed_bytes > faults.unplug_after_pushed_bytes:
                            device.unplug()
                            raise _Gone
                    else:
                        file.write(data[:-1] + bytes([data[-1] ^ 1]) if faults.damage_pushed else data)
                        file.flush()
            path.chmod(stat.S_IMODE(mode))
        except OSError as error:
            failed = f"couldn't write file: {error.strerror}"
            for _ in self._chunks():
                pass
        if failed:
            path.unlink(missing_ok=True)
            self._fail(failed)
            return
        self.write(struct.pack("<4sI", b"OKAY", 0))

    def _chunks(self) -> Iterator[bytes]:
        while True:
            request, length = struct.unpack("<4sI", self.read(8))
            if request == b"DONE":  # the length is a time
                return
            yield self.read(length)

    def _recv(self, path: Path) -> None:
        device, limit = self.device, self.device.faults.unplug_after_pulled_bytes
        try:
            content = path.read_bytes()
        except OSError as error:
            self._fail(error.strerror or "cannot be read")
            return
        if device.faults.cut_pulled:
            content = content[:-1]
        step = CHUNK_BYTES if limit is None else 16
        for begin in range(0, len(content), step):
            data = content[begin : begin + step]
            device.pulled_bytes += len(data)
            if limit is not None and device.pulled_bytes > limit:
                device.unplug()
                raise _Gone
            self.write(struct.pack("<4sI", b"DATA", len(data)) + data)
        self.write(struct.pack("<4sI", b"DONE", 0))

    def _fail(self, words: str) -> None:
        self.write(struct.pack("<4sI", b"FAIL", len(words)) + words.encode())

    def _path(self, name: str) -> Path:
        return self.device.root.inside / name.lstrip("/")


def _packet(number: int, data: bytes) -> bytes:
    return struct.pack("<BI", number, len(data)) + data


def _facts(path: Path) -> tuple[int, int, int]:
    """Mode, bytes and time of change; zeros where it is missing."""
    try:
        found = path.lstat()
    except OSError:
        return 0, 0, 0
    return found.st_mode, found.st_size, int(found.st_mtime)
