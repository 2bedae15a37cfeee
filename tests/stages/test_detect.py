"""`--device auto`: the file in devices/ that fits what is attached, or a device made of what it says."""

from __future__ import annotations

import json
import re

import pytest

from edgesparse.attached import auto_device, connect, described_device, detect, known_device
from edgesparse.devices import known_devices, load_device
from edgesparse.devices.cores import CORES
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.machine_facts import MachineFacts, parse_facts
from tests.attached.faults import Attached


def said(model: str, *names: str) -> MachineFacts:
    return MachineFacts(model, names[0] if names else "", tuple(n.lower() for n in (model, *names)), "arm64-v8a")


@pytest.mark.parametrize(
    ("model", "names", "device"),
    [
        ("Pixel 8", (), "pixel-8"),
        ("pixel 8 Pro", (), "pixel-8"),
        ("Pixel 8a", (), None),  # another phone, whose name begins alike
        ("Pixel 8a", ("Tensor G3",), "pixel-8"),
        ("Pixel 80", (), None),
        ("Raspberry Pi 5 Model B Rev 1.0", ("bcm2712",), "rpi5"),
        ("Raspberry Pi 400 Rev 1.0", ("bcm2711",), "rpi4"),
        ("Raspberry Pi Zero 2 W Rev 1.0", ("bcm2837",), "rpi-zero2w"),  # its model goes before its SoC
        ("SM-S911B", (), "galaxy-s23"),
        ("SM-S911", (), None),
        ("", (), None),
        ("Some Phone", ("Tensor G9", "zum"), None),
    ],
)
def test_what_a_device_is_known_as(model: str, names: tuple[str, ...], device: str | None) -> None:
    found = known_device(said(model, *names))
    assert (found and found.name) == device


def test_a_soc_that_is_known_is_said_to_be_no_more_than_that() -> None:
    found = known_device(said("Pixel 8a", "zuma"))
    assert found is not None and found.title == "Pixel 8a with the SoC of Google Pixel 8 (Tensor G3)"
    assert found.model_copy(update={"title": load_device("pixel-8").title}) == load_device("pixel-8")


def test_no_two_files_claim_the_same() -> None:
    claims = [text.lower() for name in known_devices() if name != "host" for text in load_device(name).matches]
    assert len(claims) == len(set(claims)) and all(claims)


def test_cores_are_those_of_the_files() -> None:
    """The table of cores and the files in devices/ estimate the same, where both know a core."""
    widths = {core.name: core.fma_width for core in CORES.values()}
    for name in known_devices():
        for cluster in load_device(name).cluster if name != "host" else ():
            core = (re.search(r"Cortex-[A-Z0-9]+", cluster.core) or [""])[0]
            if core in widths:
                assert widths[core] == cluster.fma_width, f"{name}: {cluster.core}"


def test_a_device_that_nobody_knows(attached: Attached) -> None:
    attached.root.set_properties({"ro.product.model": "Pixel Test", "ro.soc.model": "Tensor T"})
    found = auto_device(attached.runtime)
    assert (found.name, found.kind, found.triple, found.isas) == (
        "detected-pixel-test", "executable", load_device("rpi5").triple, ("neon",),
    )  # fmt: skip
    assert "Pixel Test (Tensor T)" in found.title and found.features == ("fp16", "dotprod")
    assert [(c.core, c.count, c.max_ghz, c.fma_width) for c in found.cluster] == [
        ("Cortex-X3", 1, 2.914, 16), ("Cortex-A715", 4, 2.367, 8), ("Cortex-A510", 4, 1.704, 4),
    ]  # fmt: skip
    assert all(c.source.startswith("estimate") for c in found.cluster) and found.memory.bandwidth_gbs is None
    assert found.target.machine.ghz > 0 and load_device(found) is found


def test_the_phone_of_a_file(attached: Attached) -> None:
    link = connect(attached.runtime)
    try:
        assert detect(link) == load_device("pixel-8")
    finally:
        link.close()


def test_a_board_that_has_a_device_tree() -> None:
    """What a Raspberry Pi 5 answers: no properties, a page of 16 kB, a table of devices in place of a model."""
    lines = ["model ", "soc ", "abi ", "android ", "board Raspberry Pi 5 Model B Rev 1.0", "machine aarch64"]
    lines += ["compatible raspberrypi,5-model-b brcm,bcm2712", "kernel Linux 6.6.31+rpt-rpi-2712", "page "]
    lines += [
        "smaps KernelPageSize:       16 kB",
        "disk /dev/mmcblk0p2 30326232 4321000 24700000 15% /",
        "temperature 48300",
    ]
    for number in range(4):
        lines += [f"cpuinfo processor\t: {number}", "cpuinfo Features\t: fp asimd fphp asimdhp asimddp"]
        lines += ["cpuinfo CPU implementer\t: 0x41", "cpuinfo CPU part\t: 0xd0b"]
        lines += [f"cpu {number} cpufreq/cpuinfo_max_freq 2400000"]
    facts = parse_facts("\n".join(lines).encode())
    assert (facts.model, facts.soc, facts.abi, facts.android) == (
        "Raspberry Pi 5 Model B Rev 1.0", "bcm2712", "aarch64", "",
    )  # fmt: skip
    assert (facts.page_bytes, facts.free_bytes, facts.temperature_c) == (16384, 24700000 * 1024, 48.3)
    assert facts.architecture == "aarch64" and facts.battery_percent is None
    known, described = known_device(facts), described_device(facts)
    assert known == load_device("rpi5")
    assert [(c.core, c.count, c.max_ghz, c.fma_width) for c in described.cluster] == [
        (c.core, c.count, c.max_ghz, c.fma_width) for c in known.cluster
    ]
    assert described.features == known.features and described.triple == known.triple


@pytest.mark.parametrize("abi", ["armeabi-v7a", "x86", "riscv64", ""])
def test_a_cpu_without_kernels(attached: Attached, abi: str) -> None:
    attached.root.set_properties({"ro.product.cpu.abi": abi})
    uname = attached.root.root / "system/bin/uname"
    uname.write_text(f"#!/bin/sh\necho '{abi}'\n")
    with pytest.raises(RuntimeFailure, match=f"no kernels for {abi or 'a CPU that it does not tell'}") as caught:
        auto_device(attached.runtime)
    assert caught.value.exit_code == 4 and caught.value.hint


def test_an_x86_board() -> None:
    lines = ["board ", "machine x86_64", "kernel Linux 6.1", "compatible ", "cpuinfo processor : 0"]
    lines += ["cpuinfo model name : Intel(R) N100", "cpuinfo flags : fpu sse2 avx2 fma avx_vnni"]
    lines += ["cpu 0 cpufreq/cpuinfo_max_freq 3400000"]
    facts = parse_facts("\n".join(lines).encode())
    found, like = described_device(facts), load_device("x86-64")
    assert known_device(facts) is None and (found.triple, found.isas) == (like.triple, like.isas)
    assert found.features == like.features == ("avx2",) and found.target.machine.isa == like.target.machine.isa
    (cluster,) = found.cluster
    assert (cluster.core, cluster.max_ghz, cluster.fma_width) == ("Intel(R) N100", 3.4, like.cluster[0].fma_width)


def test_a_name_is_not_enough() -> None:
    """An emulator may call itself like a phone, on a CPU that its file does not know."""
    assert known_device(MachineFacts("Pixel 8", names=("pixel 8",), abi="x86_64")) is None


@pytest.mark.parametrize("model", ["", "!!!", "\N{PILE OF POO}" * 90, "../../etc", "x" * 80, "-rf / ", "a.toml"])
def test_odd_models_have_plain_names(model: str) -> None:
    """The name ends up in manifests and names of files."""
    found = described_device(said(model))
    assert re.fullmatch("detected-[a-z0-9-]{1,40}", found.name) and found.cluster[0].core == "unknown"
    assert json.loads(found.model_dump_json())["name"] == found.name


def test_clocks_that_cannot_be_are_not_taken() -> None:
    lines = ["machine aarch64", "cpuinfo processor : 0", "cpuinfo CPU implementer : 0x41", "cpuinfo CPU part : 0xd0b"]
    found = described_device(parse_facts("\n".join([*lines, "cpu 0 cpufreq/cpuinfo_max_freq 10000000"]).encode()))
    assert (found.cluster[0].core, found.cluster[0].max_ghz) == ("Cortex-A76", None)


@pytest.mark.parametrize(("runtime", "name"), [("auto", "host"), ("local", "host"), ("node", "browser"),
                                               ("chromium", "browser"), ("wasmtime", "browser")])  # fmt: skip
def test_without_a_device(runtime: str, name: str) -> None:
    assert auto_device(runtime).name == name


def test_an_emulator_is_no_device() -> None:
    with pytest.raises(InputError, match="qemu is any arm64 device"):
        auto_device("qemu")
