"""What `edgesparse calibrate` measured of a device's cores: a small file for each in the user's device database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from edgesparse.places import measured_dir, read_stored
from edgesparse.workspace import write_text

if TYPE_CHECKING:
    from edgesparse.devices.device import Device

VERSION = 1


class MeasuredCluster(BaseModel):
    """One core of the device's cluster number ``index``, alone: ``gflops``, two for each f32 multiply-add;
    ``read_gbs`` by where the data lies: l1, l2, l3 or memory."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    index: int = Field(ge=0)
    core: str
    gflops: float = Field(gt=0)
    read_gbs: dict[str, float]


class Measured(BaseModel):
    """``clusters``: those that were measured, the first one first; ``on``: what it was measured on."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: int = VERSION
    device: str
    on: str
    date: str
    clusters: tuple[MeasuredCluster, ...]


def measured_path(name: str) -> Path:
    return measured_dir() / f"{name}.cores.json"


def read_measured(name: str) -> Measured | None:
    """What was measured of the device called ``name``; None where nothing was, or by an older version.

    Raises:
        InputError: the file is damaged.
    """
    found = read_stored(measured_path(name), Measured, "remove it, and calibrate again")
    return found if found is not None and found.version == VERSION else None


def write_measured(measured: Measured) -> Path:
    """Whole or not at all; returns the file."""
    path = measured_path(measured.device)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, measured.model_dump_json(indent=1))
    return path


def as_measured(device: Device) -> Device:
    """``device`` with what was measured of it in place of published figures."""
    found = read_measured(device.name)
    if found is None:
        return device
    clusters = list(device.cluster)
    for one in found.clusters:
        if one.index < len(clusters):
            source = f"{clusters[one.index].source}; gflops: measured on {found.on}, {found.date}"
            clusters[one.index] = clusters[one.index].model_copy(update={"gflops": one.gflops, "source": source})
    read_gbs = found.clusters[0].read_gbs.get("memory") if found.clusters else None
    source = f"{device.memory.source}; read_gbs: measured on {found.on}, {found.date}"
    memory = device.memory.model_copy(update={"read_gbs": read_gbs, "source": source})
    return device.model_copy(update={"cluster": tuple(clusters), "memory": memory})
