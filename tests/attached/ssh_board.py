"""A board for the runtime ssh: a real ssh server on the loopback, in front of an `ArmRoot`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import subprocess
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from .arm_root import ArmRoot
from .faults import Faults

T = TypeVar("T")


class SshBoard:
    """Listens on a free port; ``settings`` is the folder .ssh of a user whom it lets in and who knows its key."""

    def __init__(self, root: ArmRoot, settings: Path) -> None:
        self.root, self.settings, self.faults = root, settings, Faults()
        self.pushed_bytes = self.pulled_bytes = 0
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        settings.mkdir(mode=0o700)
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(settings / "id_ed25519"))
        (settings / "authorized").write_bytes(key.export_public_key())
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._listener = self._call(self._listen())
        self.port: int = self._listener.get_port()
        self.runtime = f"ssh:pi@127.0.0.1:{self.port}"
        self.know(self._key)

    def know(self, key: asyncssh.SSHKey | None) -> None:
        """Let known_hosts hold ``key`` for this board, or nothing."""
        line = b"[127.0.0.1]:%d %s" % (self.port, key.export_public_key()) if key is not None else b""
        (self.settings / "known_hosts").write_bytes(line)

    def unplug(self) -> None:
        """Drop every connection without a word, and take no new one."""
        self._loop.call_soon_threadsafe(self._drop)

    def close(self) -> None:
        self._drop_and_wait()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[self._key], authorized_client_keys=str(self.settings / "authorized"),
            server_factory=lambda: _Server(self), process_factory=self._command, encoding=None,
            sftp_factory=lambda channel: _Files(self, channel),
        )  # fmt: skip

    async def _command(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        command, faults = process.command or "", self.faults
        pipe = subprocess.PIPE
        child = self.root.popen(faults.noise or command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        if "--json" in command and faults.unplug_on_run:
            self._loop.call_later(0.5, self._drop)
        code = await asyncio.to_thread(child.wait)
        with contextlib.suppress(OSError, asyncssh.Error):
            await process.stdout.drain()
            process.exit(code if code >= 0 else 128 - code)
        await process.wait_closed()

    def _drop(self) -> None:
        self._listener.close()
        for connection in list(self._connections):
            connection.abort()

    def _drop_and_wait(self) -> None:
        async def drop() -> None:
            self._drop()
            await asyncio.sleep(0)  # what was aborted says so

        self._call(drop())


class _Server(asyncssh.SSHServer):
    def __init__(self, board: SshBoard) -> None:
        self._board = board

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._board._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._board._connections.discard(self._connection)


class _Files(asyncssh.SFTPServer):
    def __init__(self, board: SshBoard, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        super().__init__(channel, chroot=str(board.root.root).encode())
        self._board = board

    def map_path(self, path: bytes) -> bytes:
        """As the commands on the board see it, with what was mounted there."""
        return os.fsencode(self._board.root.inside) + posixpath.normpath(posixpath.join(b"/", path))

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        board, faults = self._board, self._board.faults
        board.pushed_bytes += len(data)
        if faults.unplug_after_pushed_bytes is not None and board.pushed_bytes > faults.unplug_after_pushed_bytes:
            board._drop()
        if faults.damage_pushed:
            data = data[:-1] + bytes([data[-1] ^ 1])
        try:
            written: int = super().write(file_obj, offset, data)  # type: ignore[assignment]
            file_obj.flush()  # type: ignore[attr-defined]
        except OSError as error:
            raise asyncssh.SFTPFailure("Failure") from error  # all that OpenSSH's server says
        return written

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        board, faults = self._board, self._board.faults
        data: bytes = super().read(file_obj, offset, size)  # type: ignore[assignment]
        board.pulled_bytes += len(data)
        if faults.unplug_after_pulled_bytes is not None and board.pulled_bytes > faults.unplug_after_pulled_bytes:
            board._drop()
        return data[:-1] if faults.cut_pulled else data
