"""The device files, how they are found, and this machine read from a made-up /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesparse.devices import known_devices, load_device
from edgesparse.devices.host import host
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.ops.cost import entry_cycles
from edgesparse.types import Machine, Target

NAMED = [name for name in known_devices() if name != "host"]
MINIMAL = """
title = "a board"
kind = "executable"
triple = "aarch64-linux-musl"
isas = ["neon"]
[[cluster]]
core = "Cortex-A53"
count = 4
fma_width = 4
source = "estimate"
[memory]
source = "unknown"
"""


@pytest.mark.parametrize("name", NAMED)
def test_every_file_is_complete_and_says_its_sources(name: str) -> None:
    device = load_device(name)
    assert device.name == name and device.title
    for source in (*(c.source for c in device.cluster), device.memory.source):
        assert source.split(":")[0] in ("published", "estimate", "unknown"), source
        assert "measured" not in source
    assert (device.memory.bandwidth_gbs is None) == device.memory.source.startswith("unknown")
    speeds = [c.max_ghz or 0 for c in device.cluster]
    assert speeds == sorted(speeds, reverse=True), "fastest cluster first"


@pytest.mark.parametrize(
    ("name", "kind", "triple", "isas"),
    [
        ("rpi5", "executable", "aarch64-linux-musl", ("neon",)),
        ("pixel-8", "executable", "aarch64-linux-musl", ("neon",)),
        ("x86-64", "executable", "x86_64-linux-musl", ("avx512", "avx2", "sse2")),
        ("browser", "wasm", "wasm32-freestanding", ("relaxed", "simd128")),
        ("browser-relaxed", "wasm", "wasm32-freestanding", ("relaxed",)),
    ],
)
def test_target(name: str, kind: str, triple: str, isas: tuple[str, ...]) -> None:
    target = load_device(name).target
    assert target == Target(name, kind, triple, isas, target.core)
    assert target.machine.isa == load_device(name).usable_isas[0]
    assert 0.5 < target.machine.ghz < 6 and 0.5 < target.machine.read_gbs < 500


def test_predictions_for_the_host_are_for_the_best_that_this_cpu_runs() -> None:
    """A bundle for host holds AVX-512 kernels even where it is compiled on a CPU without."""
    known = {"avx512vl": "avx512", "avx2": "avx2", "fma": "sse2"}
    device = load_device("host").model_copy(update={"isas": ("avx512", "avx2", "sse2")})
    for features in (("avx2", "avx512vl", "fma"), ("avx2", "fma"), ("fma",)):
        best = device.model_copy(update={"features": features}).target.machine.isa
        assert best == next(known[f] for f in known if f in features)


def test_the_devices_of_the_documentation_are_known() -> None:
    wanted = (
        "host rpi3 rpi4 rpi5 rpi-zero2w pixel-4 pixel-6 pixel-8 pixel-9 galaxy-s10 galaxy-s21 galaxy-s23 galaxy-s24 "
        "oneplus-5 oneplus-7 orange-pi-5 jetson-nano jetson-orin-nano x86-64 browser browser-relaxed"
    )
    assert set(wanted.split()) <= set(known_devices())


def test_unknown_device_names_near_ones() -> None:
    with pytest.raises(InputError) as caught:
        load_device("Pixel_8")
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("unknown device 'Pixel_8'\n")
    assert "did you mean pixel-8" in caught.value.hint and "`edgesparse devices`" in caught.value.hint


@pytest.mark.parametrize("name", ["", "../rpi5", "zzzz", "__init__"])
def test_not_a_device(name: str) -> None:
    with pytest.raises(InputError, match="unknown device"):
        load_device(name)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "my-board.toml"
    path.write_text(MINIMAL)
    device = load_device(str(path))
    assert (device.name, device.cores, device.memory.bandwidth_gbs) == ("my-board", 4, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("count = 4", "count = 0"), "cluster.0.count"),
        (('kind = "executable"', 'kind = "program"'), "kind"),
        (('isas = ["neon"]', 'isas = ["avx2"]'), "isa 'avx2' does not exist for kind executable on aarch64: neon"),
        (("fma_width = 4", "fma_widht = 4"), "cluster.0.fma_width"),
        (("[memory]", "[memory"), "not a TOML file"),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "board.toml"
    path.write_text(MINIMAL.replace(*change))
    with pytest.raises(InputError) as caught:
        load_device(str(path))
    assert message in caught.value.what and caught.value.where == str(path)


def test_missing_file() -> None:
    with pytest.raises(InputError, match="no such device file"):
        load_device("nowhere/board.toml")


def _machine(root: Path, cpuinfo: str, cpus: list[tuple[str, str]]) -> Path:
    """A root with /proc/cpuinfo and, for each CPU, (cpuinfo_max_freq in kHz, size of its L2)."""
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(cpuinfo)
    for number, (khz, l2) in enumerate(cpus):
        cpu = root / f"sys/devices/system/cpu/cpu{number}"
        caches = [("1", "Instruction", "64K"), ("1", "Data", "32K"), ("2", "Unified", l2)]
        for index, (level, kind, size) in enumerate(caches):
            cache = cpu / f"cache/index{index}"
            cache.mkdir(parents=True)
            (cache / "level").write_text(f"{level}\n")
            (cache / "type").write_text(f"{kind}\n")
            (cache / "size").write_text(f"{size}\n")
        (cpu / "cpufreq").mkdir()
        (cpu / "cpufreq/cpuinfo_max_freq").write_text(f"{khz}\n")
    return root


def test_host_x86(tmp_path: Path) -> None:
    info = "model name\t: Some CPU\ncpu MHz\t\t: 2600.0\nflags\t\t: fpu sse2 avx avx2 fma\n\n" * 2
    device = host(_machine(tmp_path, info, [("4800000", "1024K")] * 2), "x86_64")
    isas, core = ("avx512", "avx2", "sse2"), Machine("avx2", 4.8, 10.0, 1 << 20)
    assert device.target == Target("host", "shared", "x86_64-linux-gnu.2.17", isas, core)
    assert device.features == ("avx", "avx2", "fma") and "Some CPU" in device.title
    (cluster,) = device.cluster
    assert (cluster.count, cluster.max_ghz, cluster.fma_width) == (2, 4.8, 16)
    assert (cluster.l1d_kb, cluster.l2_kb, cluster.l3_kb) == (32, 1024, None)


def test_host_arm64_with_two_clusters(tmp_path: Path) -> None:
    info = "processor\t: 0\nFeatures\t: fp asimd asimddp\n"
    device = host(_machine(tmp_path, info, [("1800000", "128K")] * 4 + [("2400000", "512K")] * 2), "aarch64")
    assert device.target == Target("host", "shared", "aarch64-linux-gnu.2.17", ("neon",), device.target.core)
    assert [(c.count, c.max_ghz, c.l2_kb) for c in device.cluster] == [(2, 2.4, 512), (4, 1.8, 128)]


def test_host_where_the_kernel_says_nothing(tmp_path: Path) -> None:
    device = host(tmp_path, "x86_64")
    assert device.cores == 1 and device.cluster[0].max_ghz is None


def test_host_of_another_kind() -> None:
    with pytest.raises(RuntimeFailure, match="no kernels for this machine") as caught:
        host(machine="riscv64")
    assert caught.value.exit_code == 4 and "riscv64" in caught.value.what


def test_this_machine() -> None:
    assert load_device("host").cores >= 1


def test_cores_in_order_have_tables_of_their_own() -> None:
    zero, four = (load_device(name).target.machine for name in ("rpi-zero2w", "rpi4"))
    assert (zero.in_order, four.in_order) == ("a53", "")
    # low blocks wait for loads there: single weights take nearly as long as pairs
    one, two = (entry_cycles(zero, height) for height in (1, 2))
    assert one / two > 0.9 > entry_cycles(four, 1) / entry_cycles(four, 2)
    # llvm-mca, es_spmm_f32_8x3__neon on the Cortex-A53: 52 vectors of multiply-adds in 89 cycles; half of them count
    assert entry_cycles(zero, 8) == pytest.approx(8 / (52 / 89.0) / 2, rel=0.01)


def test_in_order_cores_are_known_by_name() -> None:
    little = load_device("pixel-8").cluster[-1]
    assert little.machine("neon", load_device("pixel-8").memory).in_order == "a55"
    assert load_device("pixel-8").target.machine.in_order == ""
