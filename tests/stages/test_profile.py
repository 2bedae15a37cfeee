"""`profile`: layers that are timed, in turns, in several starts; what it warns of."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.layer_time import by_type, matched
from edgesparse.profile import Profile, profile
from edgesparse.runtimes import open as open_bundle
from edgesparse.samples import random_inputs
from edgesparse.types import CallTimes
from tests.conftest import require_cpus
from tests.stages.profiled import DEVICES


@pytest.mark.parametrize("runtime", ["local", "qemu", "node"])
def test_layers_of_a_real_bundle(runtime: str, bundles: dict[str, Path], require: object) -> None:
    if runtime != "local":
        require({"qemu": "qemu-aarch64", "node": "node"}[runtime])  # type: ignore[operator]
    with open_bundle(bundles[DEVICES[runtime]], runtime) as session:
        inputs = random_inputs(session.manifest)
        timed = session.time_calls(inputs, num_runs=3, warmup_runs=1)
        names = [port.name for port in session.manifest.outputs]
        for name, array in zip(names, timed.outputs, strict=True):
            assert np.array_equal(array, session.run(inputs)[name])
        (found,) = profile([session], [inputs], num_runs=3, warmup_runs=1)
    assert len(timed.wall_ns) == len(timed.call_ns) == 3
    assert [x.name for x in found.layers] == [x.name for x in session.manifest.layers if x.calls]
    assert all(x.us.count == 3 and x.us.min >= 0 for x in found.layers) and found.layers[-1].cumulative == 1.0
    assert max(x.us.min for x in found.layers) > 0  # in node a small layer takes no longer than calling it, at times
    assert sum(x.share for x in found.layers) == pytest.approx(1) and found.emulated == (runtime == "qemu")
    assert {row[0] for row in by_type(found.layers)} == {x.op for x in found.layers}
    assert sum(row[3] for row in by_type(found.layers)) == pytest.approx(1)


def test_threads_share_the_calls_that_are_timed(bundles: dict[str, Path]) -> None:
    require_cpus(2)
    with open_bundle(bundles["host"], "local", threads=2) as session:
        inputs = random_inputs(session.manifest)
        expected = session.run(inputs)
        timed = session.time_calls(inputs, num_runs=2, warmup_runs=0)
        assert all(np.array_equal(a, b) for a, b in zip(timed.outputs, expected.values(), strict=True))


def test_a_runtime_that_cannot_says_which_can(bundles: dict[str, Path]) -> None:
    with open_bundle(bundles["browser"], "wasmtime") as session, pytest.raises(RuntimeFailure, match="wasmtime"):
        session.time_calls(random_inputs(session.manifest))


@pytest.mark.parametrize(
    "wrong",
    [{"num_runs": 0}, {"warmup_runs": -1}, {"max_secs": 0}, {"num_runs": 10_000_001}, {"warmup_runs": 1 << 70},
     {"max_secs": 1 << 70}],
    ids=str,
)  # fmt: skip
def test_numbers_of_runs_that_cannot_be(wrong: dict[str, Any], bundles: dict[str, Path]) -> None:
    with open_bundle(bundles["host"], "local") as session, pytest.raises(InputError):
        session.time_calls(random_inputs(session.manifest), **wrong)


def test_bundles_take_turns(two: list[Profile]) -> None:
    assert [len(p.run_us) for p in two] == [7, 7] and [p.layers_us.count for p in two] == [7, 7]
    rows = matched(two[0].layers, two[1].layers)
    assert [x.name for x in rows] == [x.name for x in two[0].layers]
    assert all(x.times == pytest.approx((x.before_us or 0) / (x.after_us or 1)) for x in rows)
    fewer = matched(two[0].layers, two[1].layers[1:])
    assert fewer[-1].name == two[0].layers[0].name and fewer[-1].after_us is None and fewer[-1].times is None


def test_seconds_are_shared_among_turns(bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int | None]] = []
    with open_bundle(bundles["host"], "local") as session:
        real = session.time_calls

        def time_calls(inputs: Any, runs: int, warmup: int, max_secs: int | None, on_progress: Any) -> CallTimes:
            asked.append((runs, max_secs))
            return real(inputs, 1, 0)

        monkeypatch.setattr(session, "time_calls", time_calls)
        for max_secs, turns in ((None, 5), (20, 5), (4, 2), (1, 1)):
            asked.clear()
            profile([session] * 2, [random_inputs(session.manifest)] * 2, num_runs=50, max_secs=max_secs)
            assert len(asked) == 2 * turns and sum(runs for runs, _ in asked) == 100
            assert max_secs is None or sum(limit or 0 for _, limit in asked) <= max(max_secs, 2)


def test_warnings_say_what_to_do(bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def warnings(wall_us: list[float], **facts: Any) -> str:
        timed = CallTimes((), tuple(round(1e3 * us) for us in wall_us), ((2000,) * calls,) * len(wall_us), facts)
        monkeypatch.setattr(session, "time_calls", lambda *_: timed)
        (found,) = profile([session], [{}], num_runs=len(wall_us))
        return "\n".join(found.warnings)

    with open_bundle(bundles["host"], "local") as session:
        calls = 1 + max(max(x.calls) for x in session.manifest.layers if x.calls)
        assert warnings([100] * 10) == "" == warnings([100.0] * 9 + [200.0]), "one of ten is no spread"
        spread_out = warnings([100.0] * 8 + [120.0] * 2)
        assert "20% of the median" in spread_out and "--num-runs" in spread_out
        assert "--cores" not in spread_out and "--cool-to" not in spread_out, "neither can be done here"
        seen = [{"run": 0, "at_ns": 0, "khz": [], "limit_khz": [], "millidegrees": [30_000]}]
        warm = warnings([100.0] * 8 + [120.0] * 2, zones=["cpu"], observations=seen, most_khz=[])
        assert "--cool-to" in warm
        monkeypatch.setattr(type(session), "chooses_cores", True)
        assert "--cores big" in warnings([100.0] * 8 + [120.0] * 2)
        browser = warnings([100] * 10, clock_step_ns=5000)
        assert f"{calls} of {calls} layers take less than 10 steps" in browser and "5 us" in browser
        assert warnings([100] * 10, clock_step_ns=100) == ""
        steps = warnings([20.0, 25.0] * 5, clock_step_ns=5000)
        assert "a whole run takes less than 10 steps" in steps and "of the median" not in steps
        assert "calling them one by one, 2.5 us" in warnings([100] * 10, empty_call_ns=2500)
        assert "not read 3 times" in warnings([100] * 10, missed_observations=3)


def test_turns_follow_one_another_in_time(bundles: dict[str, Path]) -> None:
    with open_bundle(bundles["host"], "local") as session:
        found = profile([session] * 2, [random_inputs(session.manifest)] * 2, num_runs=10, warmup_runs=0)
    for each in found:
        seen = each.facts["observations"]
        assert len(seen) == 10 and (seen[0]["run"], seen[-1]["run"]) == (0, 10)
        assert all(one["at_ns"] <= following["at_ns"] for one, following in pairwise(seen))
        assert all(one["run"] <= following["run"] for one, following in pairwise(seen))
    assert found[1].facts["observations"][0]["at_ns"] == 0


def test_starts_of_a_profile(bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with open_bundle(bundles["host"], "local") as session:
        places = set()
        time_calls = session.time_calls

        def seen(*arguments: Any) -> CallTimes:
            places.add(session._arena.ctypes.data)  # type: ignore[attr-defined]
            return time_calls(*arguments)

        monkeypatch.setattr(session, "time_calls", seen)
        (found,) = profile([session], [random_inputs(session.manifest)], num_runs=12, warmup_runs=0)
        assert found.starts == (2, 2, 3, 2, 3) and len(places) > 1
        assert [len(each) for each in found.by_start] == [2, 2, 3, 2, 3] and sum(found.by_start, ()) == found.run_us
        outputs = session.run(random_inputs(session.manifest))
    assert all(np.isfinite(y).all() for y in outputs.values())
    with pytest.raises(RuntimeFailure, match="closed"):
        session.renew()
