"""memcpy, memmove, memset and memcmp of memory.c against Python's own, with bytes around them that must stay."""

from __future__ import annotations

import ctypes
import platform
import random
from pathlib import Path

import pytest

from edgesparse.build import LIBRARY_LINK_FLAGS
from edgesparse.runtimes import c

from .conftest import X86, compile_c

NAMES = ("memcpy", "memmove", "memset", "memcmp")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if platform.machine() != "x86_64":
        pytest.skip("built for x86_64")
    folder = tmp_path_factory.mktemp("memory")
    source = folder / "exported.c"
    # memory.c hides its functions, so that they never replace those of a libc.
    renamed = "".join(f"#define {n} t_{n}\n" for n in NAMES)
    source.write_text(
        f"""{renamed}#include "{c.FOLDER / "memory.c"}"
        void *x_memcpy(void *a, const void *b, size_t n) {{ return t_memcpy(a, b, n); }}
        void *x_memmove(void *a, const void *b, size_t n) {{ return t_memmove(a, b, n); }}
        void *x_memset(void *a, int b, size_t n) {{ return t_memset(a, b, n); }}
        int x_memcmp(const void *a, const void *b, size_t n) {{ return t_memcmp(a, b, n); }}
        """
    )
    compile_c(X86, [source], Path(folder, "m.so"), (*LIBRARY_LINK_FLAGS, "-fPIC", "-fvisibility=default"))
    loaded = ctypes.CDLL(str(folder / "m.so"))
    for name in NAMES:
        getattr(loaded, f"x_{name}").argtypes = [
            ctypes.c_void_p, ctypes.c_int if name == "memset" else ctypes.c_void_p, ctypes.c_size_t
        ]  # fmt: skip
        getattr(loaded, f"x_{name}").restype = ctypes.c_int if name == "memcmp" else ctypes.c_void_p
    return loaded


def test_against_python(library: ctypes.CDLL) -> None:
    rng = random.Random(3)
    for _ in range(2000):
        size = rng.choice([0, 1, 2, 15, 16, 17, 31, 32, 33, rng.randrange(300)])
        start, source = rng.randrange(300), rng.randrange(300)
        content = bytes(rng.randrange(256) for _ in range(20)) * 40
        buffer = ctypes.create_string_buffer(content, len(content))
        base = ctypes.addressof(buffer)
        expected = bytearray(content)
        if rng.random() < 0.5:
            value = rng.randrange(256)
            assert library.x_memset(base + start, value, size) == base + start
            expected[start : start + size] = bytes([value]) * size
        else:
            apart = abs(start - source) >= size
            name = "x_memcpy" if apart and rng.random() < 0.5 else "x_memmove"
            assert getattr(library, name)(base + start, base + source, size) == base + start
            expected[start : start + size] = content[source : source + size]
        assert buffer.raw == bytes(expected)


def test_memset_keeps_the_low_byte(library: ctypes.CDLL) -> None:
    buffer = ctypes.create_string_buffer(40)
    library.x_memset(ctypes.addressof(buffer), 0x1FE, 40)
    assert buffer.raw == b"\xfe" * 40


@pytest.mark.parametrize(
    ("a", "b", "sign"),
    [(b"", b"", 0), (b"ab", b"ab", 0), (b"a\xff", b"a\x01", 1), (b"a", b"b", -1), (b"\0x", b"\0y", -1)],
)
def test_memcmp(library: ctypes.CDLL, a: bytes, b: bytes, sign: int) -> None:
    result = library.x_memcmp(a, b, len(a))
    assert (result > 0) - (result < 0) == sign
