"""What a refusal through the command line looks like: a message with a hint, an exit code, nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

Call = Callable[..., tuple[int, str]]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path beneath ``folder`` with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def refuses(call: Call, code: int, *messages: str, arguments: Sequence[str] = ()) -> str:
    """Compiling m.onnx ends with ``code``, says ``messages``, and changes nothing. Returns stderr."""
    before = tree(Path())
    found, err = call("compile", "m.onnx", "-o", "m.edge", *arguments)
    assert (found, err.split(":")[0]) == (code, "error"), err
    for message in messages:
        assert message in err
    assert "hint: " in err
    assert tree(Path()) == before
    return err
