"""Clocks and temperatures of this machine, as Linux tells them in /sys; what the program in a bundle reads itself."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EVERY_NS = 100_000_000  # reading many files takes milliseconds
SYS = Path("/sys")
UNKNOWN = -1


class Observer:
    """Reads between timed runs, not within them. ``facts`` are those that observe.h prints, without the battery."""

    def __init__(self, cpus: Sequence[int], sys: Path = SYS) -> None:
        self._cpus = list(cpus) or sorted(os.sched_getaffinity(0))
        self._sys = sys
        self._zones = _zones(sys)
        self._seen: list[dict[str, Any]] = []
        self._first_ns = self._last_ns = 0

    def observe(self, run: int, anyway: bool = False) -> None:
        """Now, with so many timed runs done; unless the last time was just before and not ``anyway``."""
        now = time.monotonic_ns()
        if not anyway and now - self._last_ns < EVERY_NS:
            return
        self._first_ns = self._first_ns or now
        self._seen.append({
            "at_ns": now - self._first_ns, "run": run,
            "khz": [self._khz(cpu, "scaling_cur_freq") for cpu in self._cpus],
            "limit_khz": [self._khz(cpu, "scaling_max_freq") for cpu in self._cpus],
            "millidegrees": [_number(zone / "temp") for zone in self._zones],
        })  # fmt: skip
        self._last_ns = time.monotonic_ns()

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "watched_cpus": self._cpus, "most_khz": [self._khz(cpu, "cpuinfo_max_freq") for cpu in self._cpus],
            "zones": [_text(zone / "type") for zone in self._zones], "observations": self._seen,
        }  # fmt: skip

    def _khz(self, cpu: int, which: str) -> int:
        return _number(self._sys / f"devices/system/cpu/cpu{cpu}/cpufreq" / which)


def temperatures(sys: Path = SYS) -> dict[str, float]:
    """As `Session.temperatures`."""
    found: dict[str, float] = {}
    for zone in _zones(sys):
        if (said := _number(zone / "temp")) != UNKNOWN:
            name = _text(zone / "type")
            found[name] = max(found.get(name, said / 1e3), said / 1e3)
    return found


def _zones(sys: Path) -> list[Path]:
    return sorted(sys.glob("class/thermal/thermal_zone*"), key=lambda zone: (len(zone.name), zone.name))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # a sensor that is off answers with an error
        return UNKNOWN
