"""`profile` on the test devices: chosen cores, a hot and slowed down device, waiting, sustained runs, the battery."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import edgesparse as es
from edgesparse import report, runtimes
from edgesparse.errors import InputError
from edgesparse.samples import random_inputs
from tests.attached.adb_device import AdbDevice
from tests.attached.arm_root import ArmRoot
from tests.attached.faults import Attached
from tests.stages.conftest import Call
from tests.stages.profiled import DIGITS


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return es.compile(es.load(DIGITS), "pixel-8", tmp_path_factory.mktemp("pixel") / "d.edge")


def set_sys(root: ArmRoot, **changed: str) -> None:
    """Files of the device's /sys; __ stands for a slash."""
    for name, text in changed.items():
        path = root.root / "sys" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def test_a_hot_phone_is_marked_and_its_battery_read(phone: AdbDevice, bundle: Path, call: Call) -> None:
    first = min(os.sched_getaffinity(0))
    set_sys(
        phone.root, class__thermal__thermal_zone1__type="VIRTUAL-SKIN", class__thermal__thermal_zone1__temp="46500",
        class__power_supply__battery__current_now="-900000", class__power_supply__battery__voltage_now="4000000",
        class__power_supply__battery__status="Discharging",
        **{f"devices__system__cpu__cpu{first}__cpufreq__scaling_max_freq": "1000000"},
    )  # fmt: skip
    command = ("profile", bundle, "--runtime", phone.runtime, "--num-runs", "4", "--cores", f"{1 << first:#x}")
    code, out, err = call(*command, "--save", "p.json")
    assert code == 0, err
    assert "4 of 4: 4 with a capped clock, 4 above 45 C (VIRTUAL-SKIN)" in out and f"CPU {first})" in out
    assert "3600 mW" in out and "1 different reading of the battery" in out
    assert "clock of a core was limited" in err and "above 45 C (VIRTUAL-SKIN)" in err and "more --num-runs" in err
    (saved,) = json.loads(Path("p.json").read_text())
    assert saved["marks"]["capped"] == saved["marks"]["hot"] == [0, 1, 2, 3] and saved["marks"]["unmarked"] is None
    mean_us = sum(saved["run_us"]) / 4
    assert saved["energy"]["milliwatts"] == pytest.approx(3600)
    assert saved["energy"]["millijoules"] == pytest.approx(3.6 * mean_us / 1e3)
    assert all(0 <= x["activation_zeros"] <= 1 for x in saved["layers"])
    set_sys(phone.root, class__power_supply__battery__status="Charging")
    _, out, err = call(*command, "--hot-above", "50")
    assert "4 of 4: 4 with a capped clock, 0 above 50 C" in out and "not known while the battery is charging" in err


def test_waiting_for_a_device_to_cool(
    attached: Attached, bundle: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesparse.thermal.EVERY_S", 0.2)
    set_sys(attached.root, class__thermal__thermal_zone0__temp="52000")
    with runtimes.open(bundle, attached.runtime) as session:
        assert session.temperatures() == {"BIG": 52.0}
    real = report.note

    def note(text: str) -> None:
        set_sys(attached.root, class__thermal__thermal_zone0__temp="33000")
        real(text)

    monkeypatch.setattr(report, "note", note)
    command = ("profile", bundle, "--runtime", attached.runtime, "--num-runs", "1", "--cool-to", "35C")
    code, _, err = call(*command)
    assert code == 0 and "BIG at 52.0 C, waiting for 35 C" in err and "BIG is at 33.0 C" in err
    (attached.root.root / "sys/class/thermal/thermal_zone0/temp").unlink()
    code, _, err = call(*command)
    assert code == 2 and "tells no temperature" in err


def test_sustained_runs_on_a_device(phone: AdbDevice, bundle: Path, call: Call) -> None:
    code, out, err = call(
        "profile", bundle, "--runtime", phone.runtime, "--num-runs", "2", "--sustained", "10s", "--json"
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)["profiles"][0]["sustained"]
    assert len(found["rounds"]) >= 5 and found["seconds"] >= 10 and found["zones"] == ["BIG"]
    assert all(r["celsius"] == [31.0] and r["us"]["count"] > 0 for r in found["rounds"])


def test_cores_by_size(phone: AdbDevice, bundle: Path, call: Call) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    for cpu in allowed:
        set_sys(phone.root, **{f"devices__system__cpu__cpu{cpu}__cpu_capacity": str(500 + cpu)})
    sizes = {"big": allowed[-1], "little": allowed[0]} if len(allowed) > 1 else {}
    for size, cpu in sizes.items():
        for command in ("profile", "bench"):
            code, out, err = call(command, bundle, "--runtime", phone.runtime, "--cores", size, "--json")
            document = json.loads(out)
            machine = document["profiles"][0]["machine"] if command == "profile" else document["machine"]
            assert code == 0 and machine["cores"] == f"{size} (CPU {cpu})", err
    for cpu in allowed:
        set_sys(phone.root, **{f"devices__system__cpu__cpu{cpu}__cpu_capacity": "500"})
    _, out, _ = call("bench", bundle, "--runtime", phone.runtime, "--num-runs", "2", "--cores", "little", "--json")
    assert json.loads(out)["machine"]["cores"] == "little (not chosen: all cores are of one kind)"


def test_cores_that_are_none(bundle: Path, tmp_path: Path, require: object) -> None:
    require("qemu-aarch64")  # type: ignore[operator]
    with runtimes.open(bundle, "qemu") as session:
        for wrong in ("", "huge", "0x", "0xg", "-1", "f" * 257):
            with pytest.raises(InputError, match="are no cores"):
                session.use_cores(wrong)
        session.use_cores(f"{1 << min(os.sched_getaffinity(0)):x}")
        session.bench(random_inputs(session.manifest), num_runs=1, warmup_runs=0)
        assert f"CPU {min(os.sched_getaffinity(0))}" in session.machine["cores"]
        with pytest.raises(InputError, match="qemu cannot ask for temperatures"):
            session.temperatures()


def test_runtimes_that_cannot_choose_say_so(tmp_path: Path, call: Call) -> None:
    for device, runtime in (("host", "local"), ("browser", "wasmtime")):
        made = es.compile(es.load(DIGITS), device, tmp_path / f"{device}.edge")
        code, _, err = call("bench", made, "--runtime", runtime, "--num-runs", "1", "--cores", "big")
        assert code == 2 and f"the runtime {runtime} cannot choose cores" in err
