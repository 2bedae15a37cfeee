"""Logging in to a board over ssh, and what to do where that fails; for the runtime ssh."""

from __future__ import annotations

import asyncio
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.runtimes.device import QUESTION_S, printable

if TYPE_CHECKING:
    import asyncssh

KEEPALIVE_S = 10  # a board that misses three of these in a row is gone
SSH_PORT = 22
TRIES = 3  # a board without a key of the kinds that are known hangs up, and what it says may be lost with that


async def log_in(host: str) -> asyncssh.SSHClientConnection:
    """As `ssh` would. Raises RuntimeFailure where that fails, and InputError as `parse`."""
    import asyncssh

    user, name, port = parse(host)
    options: dict[str, Any] = {"connect_timeout": QUESTION_S, "keepalive_interval": KEEPALIVE_S}
    if user:
        options["username"] = user
    if port is not None:
        options["port"] = port
    login = f"ssh{f' -p {port}' if port else ''} {shlex.quote(f'{user}@{name}' if user else name)}"
    cause: Exception
    try:
        return await asyncio.wait_for(_connected(name, options), 2 * QUESTION_S)
    except asyncssh.PermissionDenied as error:
        what, hint, cause = "it refused the login", f"`{login.replace('ssh', 'ssh-copy-id', 1)}`, or ssh-add", error
    except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
        what, hint, cause = "its host key is not known", f"`{login}` once, and compare what it shows", error
        if _is_known(name, port or SSH_PORT):
            place = shlex.quote(name if port in (None, SSH_PORT) else f"[{name}]:{port}")
            what = "its host key is not the one in known_hosts: another system answers, or it was installed anew"
            hint = f"if it was, `ssh-keygen -R {place}` and then `{login}`"
    except (asyncssh.Error, OSError, TimeoutError, asyncio.TimeoutError) as error:
        words = str(error) or "no answer"
        what, hint, cause = f"there is no connection: {words}", f"`{login}` must work first", error
    raise RuntimeFailure(printable(what), where=host, hint=hint) from cause


async def _connected(name: str, options: dict[str, Any]) -> asyncssh.SSHClientConnection:
    import asyncssh

    for _ in range(TRIES - 1):
        with suppress(asyncssh.ConnectionLost):
            return await asyncssh.connect(name, **options)
    return await asyncssh.connect(name, **options)


def parse(host: str) -> tuple[str, str, int | None]:
    """``pi@board:2222`` -> ("pi", "board", 2222); "" and None where nothing is said.

    Raises:
        InputError: not of that form.
    """
    user, _, place = host.rpartition("@")
    name, colon, port = place.rpartition(":")
    if not colon or (":" in name and not name.startswith("[")):  # the latter: an IPv6 address without a port
        name, colon, port = place, "", ""
    name = name.removeprefix("[").removesuffix("]")
    if not name or name.startswith("-") or (colon and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise InputError(
            f"'{host}' is no address of a board", where="ssh", hint="--runtime ssh:USER@HOST, or ssh:USER@HOST:PORT"
        )
    return user, name, int(port) if colon else None


def _is_known(name: str, port: int) -> bool:
    """Whether the user's known_hosts has a key for it."""
    import asyncssh

    try:
        return bool(asyncssh.match_known_hosts(str(Path("~/.ssh/known_hosts").expanduser()), name, "", port)[0])
    except (OSError, ValueError):
        return False
