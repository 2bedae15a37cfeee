"""What both test devices have in common: how they are told to misbehave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .arm_root import ArmRoot


@dataclass
class Faults:
    """What goes wrong. Bytes are counted from when the device was made."""

    unplug_after_pushed_bytes: int | None = None
    unplug_after_pulled_bytes: int | None = None
    noise: str = ""  # a command that runs in the place of every other one
    unplug_on_run: bool = False  # half a second after a program has started
    damage_pushed: bool = False  # the last byte of everything that arrives
    cut_pulled: bool = False  # the last byte of everything that is fetched
    # adb only
    slow_push_s: float = 0.0  # for each packet
    unauthorised: bool = False
    silent: bool = False  # accepts a connection and says nothing
    features: str = "shell_v2,cmd"


class Attached(Protocol):
    """A test device; ``runtime`` is the name that `runtimes.open` takes."""

    root: ArmRoot
    faults: Faults
    runtime: str
    pushed_bytes: int
    pulled_bytes: int

    def unplug(self) -> None:
        """The cable is out, for good."""
