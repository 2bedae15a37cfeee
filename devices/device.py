"""The schema of ``devices/<name>.toml`` and how a device is found."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgesparse.devices.measured import as_measured
from edgesparse.errors import InputError
from edgesparse.types import PRECISIONS, Machine, Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
ISAS = {
    "shared": ("avx512", "avx2", "sse2", "neon"),
    "executable": ("avx512", "avx2", "sse2", "neon"),
    "wasm": ("relaxed", "simd128"),
}
"""The instruction sets that kernels are written for, by kind of bundle, best first."""
ARCHITECTURES = {"avx512": "x86_64", "avx2": "x86_64", "sse2": "x86_64", "neon": "aarch64"}
NEEDS = {"avx512": "avx512vl", "avx2": "avx2", "neon_fp16": "fp16"}
"""What of ``features`` an instruction set needs, where not every machine of the architecture has it."""
TABLES_WIDTH = {"neon": 8, "neon_fp16": 8}
"""Multiply-adds a cycle of the core that the tables in `ops.cost` are from, a Neoverse N1. Other tables are from cores
like those that they are used for."""
IN_ORDER = {"Cortex-A53": "a53", "Cortex-A55": "a55", "Cortex-A510": "a55", "Cortex-A520": "a55"}
"""Types of core that `ops.cost.IN_ORDER` has tables for, or for one like them."""
FOR_F16 = ("neon_fp16",)
"""Compiled for beside ``isas`` where a model is stored in f16."""

_STRICT = ConfigDict(extra="forbid", frozen=True)


class Cluster(BaseModel):
    """Cores of one type. ``fma_width``: f32 multiply-adds a core can start per cycle.

    Caches are per core, unless ``l2_shared`` says that the cluster has one L2; ``l3_kb`` is shared by all
    clusters. ``gflops``: of one core, two for each multiply-add, where `edgesparse calibrate` measured it. None: not
    published and not found out. ``source`` says where the figures are from.
    """

    model_config = _STRICT
    core: str
    count: int = Field(ge=1)
    max_ghz: float | None = Field(default=None, gt=0, lt=10)
    fma_width: int = Field(ge=1)
    l1d_kb: int | None = None
    l2_kb: int | None = None
    l2_shared: bool = False
    l3_kb: int | None = None
    gflops: float | None = Field(default=None, gt=0)
    source: str

    @property
    def cache_bytes(self) -> int:
        """A core's part of its L2; 256 kB where it is not known."""
        return (self.l2_kb or 256) * 1024 // (self.count if self.l2_shared else 1)

    @property
    def peak_gflops(self) -> float | None:
        """Of one core: measured, or what ``fma_width`` and ``max_ghz`` come to."""
        return self.gflops or (2 * self.fma_width * self.max_ghz if self.max_ghz else None)

    def machine(self, isa: str, memory: Memory) -> Machine:
        """A core for `ops.cost`. What is not known is assumed: 3 GHz, 10 GB/s.

        The tables there count cycles; a core that begins more or fewer multiply-adds in a cycle than the one that they
        are from is taken for one of that kind with another clock.
        """
        width = TABLES_WIDTH.get(isa, self.fma_width)
        ghz = self.peak_gflops / (2 * width) if self.peak_gflops else 3.0
        in_order = next((kind for name, kind in IN_ORDER.items() if name in self.core), "")
        return Machine(isa, ghz, memory.core_gbs or 10.0, self.cache_bytes, in_order)


class Memory(BaseModel):
    """Main memory: ``bandwidth_gbs`` is the peak of the interface, which no program reaches; ``read_gbs`` what one core
    reads, where `edgesparse calibrate` measured it."""

    model_config = _STRICT
    bandwidth_gbs: float | None = Field(default=None, gt=0)
    read_gbs: float | None = Field(default=None, gt=0)
    source: str

    @property
    def core_gbs(self) -> float | None:
        """What one core reads: measured, or half of the interface's peak, about which it reaches alone."""
        return self.read_gbs or (self.bandwidth_gbs / 2 if self.bandwidth_gbs else None)

    @property
    def most_gbs(self) -> float | None:
        """What one core has been seen to read, or else what nothing can exceed."""
        return self.read_gbs or self.bandwidth_gbs


class Device(BaseModel):
    """Something to compile for. ``kind``, ``triple`` and ``isas`` as in `types.Target`.

    ``features`` are what its best cores have beyond the baseline: what predictions go by. Which kernels run is chosen
    on the device. ``matches`` are the models (their first words) and SoCs that an attached device may say it is.
    """

    model_config = _STRICT
    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=80)  # files are called after it
    title: str
    matches: tuple[str, ...] = ()
    kind: Literal["shared", "executable", "wasm"]
    triple: str
    isas: tuple[str, ...] = Field(min_length=1)
    features: tuple[str, ...] = ()
    cluster: tuple[Cluster, ...] = Field(min_length=1)
    memory: Memory

    @model_validator(mode="after")
    def _isas_fit_kind(self) -> Device:
        architecture = self.triple.split("-")[0]
        known = [isa for isa in ISAS[self.kind] if ARCHITECTURES.get(isa, architecture) == architecture]
        for isa in self.isas:
            if isa not in known:
                where = f"for kind {self.kind} on {architecture}"
                raise ValueError(f"isa '{isa}' does not exist {where}: {', '.join(known) or 'none does'}")
        return self

    @property
    def usable_isas(self) -> tuple[str, ...]:
        """Of ``isas``, which are compiled for, those that this very device can run."""
        return self._usable(self.isas)

    def _usable(self, isas: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(i for i in isas if NEEDS.get(i, "") in ("", *self.features)) or isas[-1:]

    @property
    def target(self) -> Target:
        """Predictions are for a core of the first cluster."""
        return self.target_in("f32")

    def target_in(self, precision: str) -> Target:
        """`target`, with weights and activations in ``precision``.

        Raises:
            InputError: there is no such precision, or not for this device.
        """
        if precision not in PRECISIONS:
            raise InputError(f"there is no precision '{precision}'", hint=f"it is one of {', '.join(PRECISIONS)}")
        isas = self.isas
        if precision == "f16":
            if not self.triple.startswith("aarch64"):
                raise InputError(
                    f"precision f16 is for arm64 devices; {self.name} is {self.triple.split('-')[0]}",
                    hint="leave it at f32, or choose an arm64 device: `edgesparse devices` lists all",
                )  # fmt: skip
            isas = (*FOR_F16, *isas)
        core = self.cluster[0].machine(self._usable(isas)[0], self.memory)
        return Target(self.name, self.kind, self.triple, isas, core, precision)

    @property
    def cores(self) -> int:
        return sum(c.count for c in self.cluster)


def known_devices() -> list[str]:
    """``host`` and the name of every file in this folder, sorted."""
    return ["host", *sorted(p.stem for p in FOLDER.glob("*.toml"))]


def load_device(name: str | Device) -> Device:
    """The device of that name, or the one described by the ``.toml`` file at that path; a `Device` is itself.

    ``host`` is this machine, read from /proc and /sys. What `edgesparse calibrate` measured replaces what is published.

    Raises:
        InputError: unknown device, or a file that does not fit the schema.
    """
    return name if isinstance(name, Device) else as_measured(_described(name))


def _described(name: str) -> Device:
    if name == "host":
        # only here: the others are read without looking at this machine
        from edgesparse.devices.host import host

        return host()
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise InputError("no such device file", where=name, hint="`edgesparse devices` lists the known devices")
        return _read(path)
    if name not in known_devices():
        close = difflib.get_close_matches(name.lower().replace("_", "-"), known_devices(), n=3, cutoff=0.5)
        near = f"did you mean {' or '.join(close)}? " if close else ""
        raise InputError(f"unknown device '{name}'", hint=f"{near}`edgesparse devices` lists all")
    return _read(FOLDER / f"{name}.toml")


def _read(path: Path) -> Device:
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return Device.model_validate({"name": path.stem, **document})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not a TOML file: {error}", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "device"
        raise InputError(
            f"{place}: {first['msg']}", where=str(path), hint="devices/rpi5.toml shows every field",
        ) from error  # fmt: skip
