"""`Energy`: what a run costs the battery, by the battery's own sensors."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

FEW = 4  # different readings, below which a mean says little
# The files are said to hold microamperes and microvolts; some phones (Samsung's) give milliamperes, some millivolts. A
# phone that computes draws more than 20 mA, and its battery has more than 0.1 V.
LEAST_MICROAMPERES, LEAST_MICROVOLTS = 20_000, 100_000


@dataclass(frozen=True, slots=True)
class Energy:
    """Of the whole device: display, radios and all. ``millijoules`` are those of a run of mean length.

    ``readings``: how many different ones the mean rests on; a battery's sensor has a new one every 0.25 to 1 s.
    ``error`` says why there are no figures, which are 0 then.
    """

    milliwatts: float = 0.0
    millijoules: float = 0.0
    readings: int = 0
    error: str = ""

    def __str__(self) -> str:
        if self.error:
            return self.error
        return (
            f"{self.millijoules:.4g} mJ a run at {self.milliwatts:.4g} mW: the whole device, {self.readings} different "
            f"reading{'' if self.readings == 1 else 's'} of the battery, which must be discharging"
        )


def energy(run_us: Sequence[float], facts: Mapping[str, Any]) -> Energy | None:
    """Mean power over all that was read during the runs, times their mean length; None without such a sensor.

    The sign of the current differs from phone to phone, so that it does not tell whether the battery is charged: that
    is what ``facts["battery"]`` is for, where the device says it.
    """
    read = [
        (abs(one["microamperes"]), one["microvolts"])
        for one in facts.get("observations", ())
        if one.get("microamperes", -1) != -1 and one.get("microvolts", -1) > 0
    ]
    if not read or not any(amperes for amperes, _ in read):
        return None
    state = facts.get("battery", "")
    if state and state.lower() != "discharging":
        return Energy(error=f"not known while the battery is {state.lower()}: unplug the charger")
    amperes_in = 1e-3 if max(a for a, _ in read) < LEAST_MICROAMPERES else 1e-6
    volts_in = 1e-3 if max(v for _, v in read) < LEAST_MICROVOLTS else 1e-6
    watts = statistics.fmean(a * amperes_in * v * volts_in for a, v in read)
    return Energy(1e3 * watts, watts * statistics.fmean(run_us) / 1e3, len(list(groupby(read))))
