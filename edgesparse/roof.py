"""`Roof`: what a device allows at most, for the cores, threads and kernels that ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesparse.devices.device import Cluster, Device

HALVES = "neon_fp16"
"""Kernels that begin two multiply-adds of halves where those of f32 begin one."""


@dataclass(frozen=True, slots=True)
class Roof:
    """All cores that ran together: operations, two for each multiply-add, and bytes of memory. What `calibrate` did not
    measure is published or, where nobody published it, estimated: the device's file says which."""

    gflops: float
    gbs: float
    measured_gflops: bool = False
    measured_gbs: bool = False

    def __str__(self) -> str:
        peak, bandwidth = f"{self.gflops:.3g} GFLOP/s", f"{self.gbs:.3g} GB/s"
        if self.measured_gflops == self.measured_gbs:
            return f"{_how(self.measured_gflops)}: {peak}, {bandwidth}"
        return f"{_how(self.measured_gflops)}: {peak}; {_how(self.measured_gbs)}: {bandwidth}"


def _how(measured: bool) -> str:
    return "measured" if measured else "published or estimated"


def roof(device: Device | None, machine: Mapping[str, str]) -> Roof | None:
    """``machine`` as in `profile.Profile`. None where figures are not known, or it is not which cores ran."""
    clusters = () if device is None else _clusters(device, machine.get("cores", "").partition(" ")[0])
    if device is None or not clusters:
        return None
    threads = int(machine.get("threads", "1"))
    # threads are on the fastest cores first; no more of them work at once than there are cores
    peaks = [c.peak_gflops for c in clusters for _ in range(c.count)][:threads]
    # one core does not reach what several do together
    gbs = device.memory.most_gbs if threads == 1 else device.memory.bandwidth_gbs
    if gbs is None or None in peaks:
        return None
    halves = 2 if machine.get("isa") == HALVES else 1
    used = [c.gflops for c in clusters for _ in range(c.count)][:threads]
    return Roof(
        halves * sum(p for p in peaks if p), gbs, None not in used, threads == 1 and device.memory.read_gbs is not None
    )


def _clusters(device: Device, cores: str) -> tuple[Cluster, ...]:
    """Those of ``cores`` as in `Session.use_cores`, fastest first; none for a mask, which says nothing of their kind
    unless all are of one."""
    if cores in ("", "all") or len(device.cluster) == 1:
        return device.cluster
    return {"big": device.cluster[:1], "little": device.cluster[-1:]}.get(cores, ())
