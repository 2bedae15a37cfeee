"""Timing is for the program of a bundle: what an app links holds none of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import edgesparse as es
from tests.stages.profiled import DIGITS

# what observe.h and main.c read and print, and their system calls' names
TELLTALES = (b"scaling_cur_freq", b"thermal_zone", b"power_supply", b"millidegrees", b"call_ns", b"--per-layer")
SYMBOLS = re.compile(rb"es_(observe\w*|count\w*|put\w*|read_line|sized_cpus|run_for_zeros)\b|time_runs|run_calls")


@pytest.mark.parametrize(("device", "libraries"), [("rpi5", ["libmodel.a"]), ("host", ["libmodel.so"])])
def test_libraries_hold_no_profiling(device: str, libraries: list[str], tmp_path: Path) -> None:
    bundle = es.compile(es.load(DIGITS), device, tmp_path / "d.edge")
    for name in libraries:
        content = (bundle / name).read_bytes()
        assert b"model_run" in content, "names of functions are there to be seen"
        assert not [t for t in TELLTALES if t in content] and not SYMBOLS.findall(content)
    if (bundle / "model").exists():
        program = (bundle / "model").read_bytes()
        assert all(t in program for t in TELLTALES), "the names are those that the program has"
        assert len(program) < 400_000
