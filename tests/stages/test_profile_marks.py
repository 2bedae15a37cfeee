"""Runs on a hot or slowed down device are marked, not dropped; waiting for it to cool; what the battery gave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from edgesparse.energy import energy
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.marks import capped_runs, marks
from edgesparse.quantities import celsius, duration
from edgesparse.runtimes.sensors import Observer, temperatures
from edgesparse.runtimes.session import Session
from edgesparse.spread import spread
from edgesparse.thermal import EVERY_S, cool_to, hottest, watched


def seen(run: int, degrees: Sequence[float] = (), limit: int = 2000, **more: Any) -> dict[str, Any]:
    millidegrees = [round(1000 * d) for d in degrees]
    return {"run": run, "at_ns": run, "khz": [limit], "limit_khz": [limit], "millidegrees": millidegrees, **more}


def facts(zones: Sequence[str], *observations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"most_khz": [2000], "zones": list(zones), "observations": list(observations), **more}


def test_runs_with_a_limited_clock() -> None:
    found = facts([], seen(0), seen(3, limit=1500), seen(5), seen(8, limit=1500))
    assert capped_runs(found) == [3, 4]
    unknown = {"most_khz": [-1], "observations": [seen(0, limit=-1), seen(4, limit=-1)]}
    assert capped_runs({}) == [] == capped_runs(unknown)


@pytest.mark.parametrize(
    ("zones", "chosen", "limit"),
    [
        (["cpu-0-0-usr", "battery", "skin-therm-usr", "quiet_therm"], [2, 3], 45),  # a phone with Snapdragon
        (["BIG", "MID", "LITTLE", "G3D", "VIRTUAL-SKIN", "usb_pwr_therm"], [4], 45),  # Pixel
        (["BIG", "LITTLE", "G3D", "AP", "battery"], [0, 1, 3], 80),  # Galaxy with Exynos
        (["cpu-thermal"], [0], 80),  # Raspberry Pi
        (["soc-thermal", "bigcore0-thermal", "littlecore-thermal", "gpu-thermal", "npu-thermal"], [0, 1, 2], 80),
        (["soc", "battery", "cpuss-0"], [2], 80),  # "soc" is a charge in percent
        (["CPU-therm", "GPU-therm", "thermal-fan-est"], [0], 80),  # Jetson
        (["acpitz", "x86_pkg_temp", "iwlwifi_1"], [1], 80),
        (["acpitz", "iwlwifi_1"], [0, 1], 80),
        ([], [], 80),
    ],
    ids=lambda x: ",".join(map(str, x)) if isinstance(x, list) else str(x),
)
def test_zones_that_are_watched(zones: list[str], chosen: list[int], limit: float) -> None:
    found = watched(zones)
    assert (list(found.positions), found.limit) == (chosen, limit)


def test_hot_runs_are_counted_beside_all_others() -> None:
    run_us = [10.0, 10.0, 20.0, 30.0, 12.0, 12.0]
    warm = facts(
        ["skin", "cpu0"], seen(0, (44, 90)), seen(2, (46, 50)), seen(3, (40, 20), limit=1000), seen(4, (45, 99)),
        seen(6, (60, 99)),
    )  # fmt: skip
    found = marks(run_us, warm)
    assert (found.hot, found.capped, found.runs) == ((2,), (3,), (2, 3))
    assert (found.hot_above, found.zones) == (45, ("skin",)) and found.unmarked == spread([10, 10, 12, 12])
    assert marks(run_us, warm, hot_above=42).hot == (0, 1, 2, 4, 5)
    assert marks(run_us, warm, hot_above=70).runs == (3,)


def test_nothing_is_said_where_nothing_is_known() -> None:
    nothing = marks([1.0], {})
    assert nothing.runs == () and nothing.hot_above is None and nothing.unmarked is None
    all_hot = marks([1.0, 2.0], facts(["cpu"], seen(0, [99]), seen(2, [99])))
    assert all_hot.runs == (0, 1) and all_hot.unmarked is None
    broken = facts(["cpu"], seen(0, [-40]), seen(1, [255]), seen(2, [-0.001]), seen(3, [50]))
    assert marks([1.0] * 3, broken).hot == ()


def test_the_hottest_is_one_that_can_be() -> None:
    assert hottest({"skin": 31.5, "quiet": 33.0, "cpu0": 70.0}) == ("quiet", 33.0)
    assert hottest({"skin": -40.0, "cpu0": 70.0}) == ("cpu0", 70.0)
    assert hottest({}) is None is hottest({"cpu0": 0.0})


class Cooling:
    """Answers as a session does."""

    def __init__(self, degrees: Iterator[float]) -> None:
        self._degrees, self.slept = degrees, 0.0
        self.machine = {"runtime": "adb"}

    def temperatures(self) -> dict[str, float]:
        return {"skin": next(self._degrees)}

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


def test_waiting_until_it_is_cool() -> None:
    device, said = Cooling(iter([41.0, 38.0, 35.0])), list[str]()
    session = cast(Session, device)
    wait = {"sleep": device.sleep, "clock": lambda: device.slept}
    assert cool_to(session, 35, lambda done, total, words: said.append(words), **wait) == ("skin", 35.0)  # type: ignore[arg-type]
    assert device.slept == 2 * EVERY_S and ["41.0 C" in said[0], "38.0 C" in said[1], len(said)] == [True, True, 2]
    with pytest.raises(RuntimeFailure, match=r"skin is at 50\.0 C, still above 35 C after 1 minutes"):
        hot = Cooling(iter([50.0] * 99))
        cool_to(cast(Session, hot), 35, longest_s=60, sleep=hot.sleep, clock=lambda: hot.slept)
    with pytest.raises(InputError, match="tells no temperature"):
        cool_to(cast(Session, Cooling(iter([-40.0]))), 35)


@pytest.mark.parametrize(("text", "degrees"), [("45C", 45), ("45", 45), ("36.5c", 36.5), (" 40 °C ", 40)])
def test_temperatures_as_they_are_typed(text: str, degrees: float) -> None:
    assert celsius("--hot-above", text) == degrees


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("10m", 600), ("1h", 3600), ("45", 45), ("2 min", 120)])
def test_times_as_they_are_typed(text: str, seconds: int) -> None:
    assert duration("--sustained", text) == seconds


@pytest.mark.parametrize("text", ["", "C", "45F", "-5C", "0", "150", "nan", "1e1", "٤٥"])
def test_what_is_no_temperature(text: str) -> None:
    with pytest.raises(InputError, match="--cool-to"):
        celsius("--cool-to", text)


@pytest.mark.parametrize("text", ["", "m", "0s", "-1m", "1.5h", "2d", "25h", "9" * 400, "٣s"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(InputError, match="--sustained"):
        duration("--sustained", text)


def drawn(*read: tuple[int, int], **more: Any) -> dict[str, Any]:
    return facts([], *(seen(i, microamperes=a, microvolts=v) for i, (a, v) in enumerate(read)), **more)


def test_energy_is_mean_power_times_the_mean_run() -> None:
    for sign in (1, -1):
        found = energy([1000.0, 3000.0], drawn((sign * 500_000, 4_000_000), (sign * 250_000, 4_000_000)))
        assert found is not None and found.milliwatts == pytest.approx(1500) and found.millijoules == pytest.approx(3)
        assert found.readings == 2 and "whole device" in str(found) and "must be discharging" in str(found)
    milliamperes = energy([2000.0], drawn((-350, 4_000_000)))
    assert milliamperes is not None and milliamperes.milliwatts == pytest.approx(1400)
    repeated = energy([1.0], drawn(*[(400_000, 4_000_000)] * 5, (300_000, 4_000_000), battery="Discharging"))
    assert repeated is not None and repeated.readings == 2 and not repeated.error


def test_no_energy_where_the_battery_tells_none_or_is_charged() -> None:
    assert energy([1.0], {}) is None
    assert energy([1.0], drawn((-1, -1), (-1, 4_000_000))) is None
    assert energy([1.0], drawn((0, 4_000_000))) is None
    for state in ("Charging", "Full", "Not charging"):
        found = energy([1.0], drawn((400_000, 4_000_000), battery=state))
        assert found is not None and found.millijoules == 0 and f"the battery is {state.lower()}" in str(found)


def test_sensors_of_this_machine(tmp_path: Path) -> None:
    files = {
        "devices/system/cpu/cpu3/cpufreq/cpuinfo_max_freq": "2400000",
        "devices/system/cpu/cpu3/cpufreq/scaling_cur_freq": "1800000",
        "devices/system/cpu/cpu3/cpufreq/scaling_max_freq": "2000000",
        "class/thermal/thermal_zone0/type": "cpu", "class/thermal/thermal_zone0/temp": "41500",
        "class/thermal/thermal_zone2/type": "off",
        "class/thermal/thermal_zone10/type": "cpu", "class/thermal/thermal_zone10/temp": "43000",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert temperatures(tmp_path) == {"cpu": 43.0} and temperatures(tmp_path / "none") == {}
    observer = Observer([3], tmp_path)
    observer.observe(0, anyway=True)
    observer.observe(1)
    observer.observe(2, anyway=True)
    found = observer.facts
    assert (found["watched_cpus"], found["most_khz"], found["zones"]) == ([3], [2400000], ["cpu", "off", "cpu"])
    assert [one["run"] for one in found["observations"]] == [0, 2], "not twice within a tenth of a second"
    last = found["observations"][1]
    assert (last["khz"], last["limit_khz"], last["millidegrees"]) == ([1800000], [2000000], [41500, -1, 43000])
    assert capped_runs(found) == [0, 1]
