"""`devices --attached`: what a phone behind the real adb and a board behind ssh say of themselves, and what hostile or
broken ones do to us: nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgesparse import attached as product
from edgesparse.machine_facts import MachineFacts, parse_facts
from edgesparse.runtimes import adb_client
from tests.attached.adb_device import AdbDevice
from tests.attached.arm_root import CLUSTERS, FEATURES
from tests.attached.faults import Attached
from tests.attached.fixtures import MakePhone, connect

from .conftest import Call

ESCAPES = "\x1b[2J\x1b]0;pwned\x07\x9b31m\u202e"


def facts_of(device: Attached) -> MachineFacts:
    link = product.connect(device.runtime)
    try:
        return product.machine_facts(link)
    finally:
        link.close()


def test_what_a_device_says(attached: Attached) -> None:
    before = attached.root.files()
    facts = facts_of(attached)
    assert (facts.model, facts.soc, facts.abi, facts.android) == ("Pixel 8", "Tensor G3", "arm64-v8a", "15")
    assert facts.architecture == "aarch64" and facts.kernel == "Linux 6.1.99" and facts.hwcap == tuple(FEATURES.split())
    fastest_first = [(name, kind[0], kind[2] / 1e6) for name, kind in zip(
        ("Cortex-X3", "Cortex-A715", "Cortex-A510"), reversed(CLUSTERS), strict=True)]  # fmt: skip
    assert [(c.core, c.count, c.max_ghz) for c in facts.clusters] == fastest_first
    assert [c.cpus for c in facts.clusters] == [(8,), (4, 5, 6, 7), (0, 1, 2, 3)]
    assert [c.fma_width for c in facts.clusters] == [16, 8, 4]
    assert facts.page_bytes in (4096, 16384, 65536) and (facts.free_bytes or 0) > 0
    assert (facts.temperature_c, facts.battery_percent) == (31.0, 83)
    assert attached.root.files() == before and not attached.pushed_bytes


def test_a_device_that_says_nothing_but_its_cpus(attached: Attached) -> None:
    for name in ("getprop", "uname", "df", "getconf", "grep"):
        program = attached.root.root / "system/bin" / name
        program.write_text("#!/bin/sh\nexit 1\n")
        program.chmod(0o755)
    facts = facts_of(attached)
    assert (facts.model, facts.abi, facts.kernel, facts.hwcap, facts.page_bytes, facts.free_bytes) == (
        "", "", "", (), None, None,
    )  # fmt: skip
    assert [(c.core, c.count) for c in facts.clusters] == [("unknown", 1), ("unknown", 4), ("unknown", 4)]
    assert facts.architecture == ""


def test_a_hostile_device(attached: Attached, call: Call) -> None:
    """Nothing that a terminal obeys comes through, no value without bounds, and no crash."""
    root = attached.root
    root.set_properties({
        "ro.product.model": f"{ESCAPES}evil" + "x" * 5000, "ro.soc.model": "$(touch pwned); `touch pwned`",
        "ro.build.version.release": f"15{ESCAPES}\ncpu 3 cpufreq/cpuinfo_max_freq 99999999999999",
    })  # fmt: skip
    features = f"{ESCAPES} fp " + "y" * 100_000
    root.set_cpuinfo(f"processor: 99999999999\nCPU part: 0xd4e\nprocessor: -1\nFeatures: {features}\nCPU part: zz\n")
    for file, text in (("cpu0/cpufreq/cpuinfo_max_freq", "nan"), ("cpu1/cpufreq/cpuinfo_max_freq", "-5"),
                       ("cpu2/cpufreq/cpuinfo_max_freq", "9" * 400), ("cpu3/cpu_capacity", ESCAPES)):  # fmt: skip
        (root.root / "sys/devices/system/cpu" / file).write_text(text + "\n")
    (root.root / "sys/class/thermal/thermal_zone0/temp").write_text("999999999\n")
    (root.root / "sys/class/power_supply/battery/capacity").write_text(f"101{ESCAPES}\n")
    for option in ((), ("--json",)):
        code, out, err = call("devices", "--attached", "--runtime", attached.runtime, *option)
        assert code == 0, err
        assert "evil" in out and not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out + err)
        assert len(out) < 20_000
    (found,) = json.loads(out)
    facts = found["facts"]
    assert len(facts["model"]) <= 80 and facts["soc"] == "$(touch pwned); `touch pwned`"
    assert facts["temperature_c"] is None and facts["battery_percent"] is None
    assert all(c["max_ghz"] is None or 0 < c["max_ghz"] < 10 for c in facts["clusters"])
    assert not list(root.root.rglob("pwned")) and not Path("pwned").exists()


@pytest.mark.parametrize(
    "answer",
    [b"", b"\xff\x00" * 1000, b"cpu", b"cpu \ncache\ncpuinfo\ndisk\npage\n", b"disk a b c\n", b"x" * 5_000_000,
     b"cpu 0 a/midr_el1 0x\ncpu 0 regs/identification/midr_el1 0xffffffffffffffffff\n", b"cpuinfo CPU part: 0xd0b\n",
     "cpu ² cpufreq/cpuinfo_max_freq ²\ntemperature ٣٤\n".encode(), b"cpuinfo processor : 1024\n" * 5000],
)  # fmt: skip
def test_answers_that_are_none(answer: bytes) -> None:
    facts = parse_facts(answer)
    assert not facts.clusters or [c.core for c in facts.clusters] == ["unknown"]
    assert facts.free_bytes is facts.temperature_c is facts.battery_percent is None


def test_cores_that_are_off_and_cores_nobody_knows() -> None:
    """A CPU that is off has no clock and is not in /proc/cpuinfo; its MIDR is still there, or nothing is."""
    lines = ["cpuinfo processor : 0", "cpuinfo CPU implementer : 0x41", "cpuinfo CPU part : 0xd0b"]
    lines += ["cpuinfo processor : 1", "cpuinfo CPU implementer : 0x41", "cpuinfo CPU part : 0xfff"]
    lines += ["cpu 0 cpufreq/cpuinfo_max_freq 2400000", "cpu 1 cpufreq/cpuinfo_max_freq 1000000"]
    lines += ["cpu 2 regs/identification/midr_el1 0x00000000413fd050", "cpu 3 cpu_capacity 100"]
    lines += ["cache 0 1 Instruction 32K", "cache 0 1 Data 64K", "cache 0 2 Unified 512K"]
    found = {c.core: c for c in parse_facts("\n".join(lines).encode()).clusters}
    assert set(found) == {"Cortex-A76", "0x41/0xfff", "Cortex-A55"}
    assert (found["Cortex-A76"].l1d_kb, found["Cortex-A76"].l2_kb, found["Cortex-A76"].l3_kb) == (64, 512, None)
    assert found["0x41/0xfff"].fma_width is None and found["Cortex-A55"].max_ghz is None


@pytest.mark.parametrize(
    ("zones", "hottest"),
    [(["31000", "45500", "0"], 45.5), (["31", "45"], 45.0), (["77", "36000"], 36.0), (["4200000"], None), ([], None)],
)
def test_the_hottest_zone(zones: list[str], hottest: float | None) -> None:
    """Some zones of a phone are no thermometers: shares in percent, volts in millionths."""
    assert parse_facts("\n".join(f"temperature {z}" for z in zones).encode()).temperature_c == hottest


def test_devices_that_are_not_ready_are_rows(
    make_phone: MakePhone, phone: AdbDevice, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adb_client, "SETTLE_S", 0.2)
    shy, old, gone = make_phone(), make_phone(), make_phone()
    shy.faults.unauthorised = True
    old.faults.features = "cmd"
    for other in (shy, old, gone):
        connect(other)
    gone.unplug()
    code, out, err = call("devices", "--attached", "--json")
    assert code == 0, err
    rows = {row["serial"]: row for row in json.loads(out)}
    assert rows[phone.serial]["state"] == "ready" and rows[phone.serial]["facts"]["model"] == "Pixel 8"
    assert rows[phone.serial]["runtime"] == phone.runtime
    assert "has not allowed" in rows[shy.serial]["state"] and "Allow USB debugging?" in rows[shy.serial]["fix"]
    assert "tells no exit codes" in rows[old.serial]["state"] and "Android 7" in rows[old.serial]["fix"]
    assert "does not answer" in rows[gone.serial]["state"] and "adb reconnect" in rows[gone.serial]["fix"]
    assert all(row["facts"] is None for serial, row in rows.items() if serial != phone.serial)
    code, out, err = call("devices", "--attached")
    assert code == 0 and "1x Cortex-X3 2.914 GHz, 4x Cortex-A715 2.367 GHz, 4x Cortex-A510 1.704 GHz" in out
    assert "Tensor G3" in out and "Android 15" in out and "asimddp" in out and shy.serial in out
    assert f"warning: {shy.serial} has not allowed this computer in; unlock it" in err
    assert f"warning: {old.serial}: its adb tells no exit codes; Android 7" in err


def test_no_device_and_no_adb(make_phone: MakePhone, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = call("devices", "--attached")
    assert (code, out) == (4, "") and "no device is attached" in err and "hint: plug it in" in err
    code, out, err = call("devices", "--attached", "--runtime", "adb:nowhere")
    assert (code, out) == (4, "") and "no device 'nowhere'" in err
    monkeypatch.setenv("ADB", "/no/such/adb")
    code, out, err = call("devices", "--attached")
    assert (code, out) == (4, "") and "$ADB is /no/such/adb" in err and "hint:" in err


def test_a_device_that_answers_late(attached: Attached, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    program = attached.root.root / "system/bin/getconf"
    program.write_text("#!/bin/sh\nsleep 4\n")
    program.chmod(0o755)
    monkeypatch.setattr("edgesparse.runtimes.device.QUESTION_S", 1.5)
    code, out, err = call("devices", "--attached", "--runtime", attached.runtime)
    assert (code, out) == (4, "") and "no answer within 1.5 s" in err and "hint:" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--runtime", "adb"), "add --attached"), (("--attached", "--runtime", "node"), "node has no devices")],
)
def test_options_that_make_no_sense(call: Call, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = call("devices", *arguments)
    assert (code, out) == (2, "") and words in err
