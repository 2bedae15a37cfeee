"""Which of a device's temperatures say that it is hot, and waiting until it is not."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.runtimes.session import Session

# Android slows a phone down by the temperature of its skin, which follows the cores by minutes: 45 C is where many
# begin. The cores of a busy phone are 20 to 40 C above that without being slowed down. So a device that has a sensor of
# its skin is judged by that. Boards have none and are slowed down by the cores' own: a Raspberry Pi from 80 C on.
SKIN = re.compile(r"skin|quiet|shell|back.?(cover|therm)|board.?therm", re.IGNORECASE)
# "big", "MID" and "LITTLE" are a Pixel's, "AP" a Samsung's, "mtktscpu" MediaTek's, "tsens" old Qualcomm's. Not plain
# "soc", which is the charge of a Qualcomm phone's battery in percent.
CPU = re.compile(
    r"cpu|(big|little)core|^(big|mid|little|ap)$|soc.?(\d.?)?(therm|max)|x86_pkg|^package|tsens|coretemp", re.IGNORECASE
)
SKIN_LIMIT, CPU_LIMIT = 45.0, 80.0
LEAST, MOST = 1.0, 149.0  # degrees: sensors that are not connected say -40, 0 or more than anything survives
EVERY_S, LONGEST_S = 5.0, 1800.0

Waiting = Callable[[int, int, str], None]
"""Called with (seconds waited, seconds at most, what is waited for)."""


class Watched(NamedTuple):
    """The zones by which a device is judged: positions in the list of all, and the usual limit in degrees Celsius."""

    positions: tuple[int, ...]
    limit: float


def watched(zones: Sequence[str]) -> Watched:
    """Those of the skin; where there is none, those of the CPU; where there is none either, all."""
    for pattern, limit in ((SKIN, SKIN_LIMIT), (CPU, CPU_LIMIT), (re.compile(""), CPU_LIMIT)):
        if found := tuple(i for i, zone in enumerate(zones) if pattern.search(zone)):
            return Watched(found, limit)
    return Watched((), CPU_LIMIT)


def hottest(temperatures: Mapping[str, float]) -> tuple[str, float] | None:
    """Zone and degrees Celsius of the hottest watched one; None where no sensor says anything that can be true."""
    said = {zone: degrees for zone, degrees in temperatures.items() if LEAST <= degrees <= MOST}
    names = list(said)
    return max(((names[i], said[names[i]]) for i in watched(names).positions), key=lambda x: x[1], default=None)


def cool_to(
    session: Session, limit: float, on_wait: Waiting | None = None, longest_s: float = LONGEST_S,
    sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic,
) -> tuple[str, float]:  # fmt: skip
    """Wait until the hottest watched zone is at most ``limit`` degrees Celsius; zone and degrees then.

    Raises:
        InputError: this runtime cannot ask for temperatures, or the device tells none.
        RuntimeFailure: it is still hotter after ``longest_s`` seconds, or the device is gone.
    """
    begin = clock()
    while True:
        found = hottest(session.temperatures())
        if found is None:
            raise InputError(
                "the device tells no temperature", where=session.machine.get("runtime", ""),
                hint="leave --cool-to out, and wait some minutes between two profiles",
            )  # fmt: skip
        zone, degrees = found
        if degrees <= limit:
            return found
        waited = clock() - begin
        if waited >= longest_s:
            raise RuntimeFailure(
                f"{zone} is at {degrees:.1f} C, still above {limit:g} C after {waited / 60:.0f} minutes",
                where=session.machine.get("runtime", ""),
                hint="unplug the charger, close other programs, or give --cool-to a higher temperature",
            )  # fmt: skip
        if on_wait is not None:
            on_wait(int(waited), int(longest_s), f"{zone} at {degrees:.1f} C, waiting for {limit:g} C, seconds")
        sleep(EVERY_S)
