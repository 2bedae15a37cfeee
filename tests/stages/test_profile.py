"""Profiles: statistics by hand, layers that are timed, files that others read, gates."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgesparse as es
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.layer_time import by_type, layer_times, matched
from edgesparse.manifest import Layer, Manifest, Port, read_manifest
from edgesparse.marks import capped_runs
from edgesparse.profile import Profile, profile
from edgesparse.profile_files import layers_csv, profiles_json, read_profiles, trace_json
from edgesparse.profile_html import html
from edgesparse.roof import Roof, roof
from edgesparse.runtimes import open as open_bundle
from edgesparse.samples import random_inputs
from edgesparse.spread import ratio_interval, spread
from edgesparse.tables_profile import profiles
from edgesparse.types import CallTimes
from tests.conftest import PROJECT, require_cpus

from .conftest import Call

DIGITS = PROJECT / "examples" / "digits.onnx"
DEVICES = {"local": "host", "qemu": "rpi5", "node": "browser", "wasmtime": "browser"}


def by_hand() -> Manifest:
    """x (1, 4) -> a product (call 0 and 2) -> a softmax (call 1); 20 multiplications, 80 bytes of weights."""
    first = Layer(
        name="fc", op="spmv", kernel="k", zeros=0.5, pattern="block:4x1", shape=(1, 5), weight_bytes=80, macs=20,
        calls=(0, 2), reads=("x",), writes=("h",),
    )  # fmt: skip
    last = Layer(name="probabilities", op="softmax", kernel="s", shape=(1, 5), calls=(1,), reads=("h",), writes=("y",))
    ports = {n: Port(name=n, shape=(1, c), dtype="f32", bytes=4 * c) for n, c in (("x", 4), ("y", 5))}
    return Manifest(
        edgesparse="0", name="m", device="rpi5", kind="executable", triple="t", isas=("neon",), inputs=(ports["x"],),
        outputs=(ports["y"],), arena_bytes=0, arena_lower_bound_bytes=0, scratch_bytes=0, weights_bytes=0,
        code_bytes=0, compiler="", layers=(first, last), files={},
    )  # fmt: skip


TIMED = CallTimes((), (9000, 9500, 9100), ((2000, 1000, 4000), (2500, 1500, 4500), (1900, 800, 4100)))


def test_times_of_a_layer_are_those_of_its_calls() -> None:
    fc, last = layer_times(by_hand(), TIMED, None)
    assert (fc.us.min, fc.us.median, fc.us.max) == (6.0, 6.0, 7.0) and last.us.median == 1.0
    assert fc.share == pytest.approx(6 / 7) and (fc.cumulative, last.cumulative) == (fc.share, 1.0)
    assert fc.inputs == ((1, 4),) and last.inputs == ((1, 5),)
    assert fc.bytes == 80 + 4 * (4 + 5) and fc.gflops == pytest.approx(2 * 20 / 6e-6 / 1e9)
    assert fc.gbs == pytest.approx(116 / 6e-6 / 1e9) and fc.of_roofline is None


def test_the_roofline_is_the_least_time_of_arithmetic_and_traffic() -> None:
    device = es.load_device("rpi5")
    (fc, _), core = layer_times(by_hand(), TIMED, roof(device, {})), device.cluster[0]
    assert core.max_ghz and (arithmetic := 20 / (core.fma_width * core.max_ghz * 1e9)) < 116 / 17.1e9
    assert fc.of_roofline == pytest.approx(max(arithmetic, 116 / 17.1e9) / 6e-6)


def test_the_roof_is_that_of_what_ran() -> None:
    phone = es.load_device("pixel-8")
    peaks = [c.peak_gflops or 0 for c in phone.cluster]
    most = phone.memory.bandwidth_gbs
    assert min(peaks) > 0 and peaks[0] > peaks[-1] and phone.cluster[0].count == 1
    assert roof(phone, {}) == Roof(peaks[0], most or 0) == roof(phone, {"cores": "big (CPU 8)"})
    assert roof(phone, {"cores": "little (CPU 0, 1, 2, 3)"}) == Roof(peaks[-1], most or 0)
    assert roof(phone, {"isa": "neon_fp16"}) == Roof(2 * peaks[0], most or 0)
    two, many = roof(phone, {"threads": "2"}), roof(phone, {"threads": "100"})
    assert two and two.gflops == pytest.approx(peaks[0] + peaks[1])
    assert many and many.gflops == pytest.approx(sum(p * c.count for p, c in zip(peaks, phone.cluster, strict=True)))
    assert roof(phone, {"cores": "0xf0 (CPU 4, 5)"}) is None is roof(None, {})
    cluster = phone.cluster[0].model_copy(update={"gflops": 40.0})
    memory = phone.memory.model_copy(update={"read_gbs": 9.0})
    known = phone.model_copy(update={"cluster": (cluster, *phone.cluster[1:]), "memory": memory})
    assert roof(known, {}) == Roof(40.0, 9.0, True, True)
    assert str(roof(known, {})) == "measured: 40 GFLOP/s, 9 GB/s"
    assert str(roof(phone, {})).startswith("published or estimated: ")
    assert (both := roof(known, {"threads": "2"})) and both.gbs == most, "what one core reads is no limit of two"
    assert not both.measured_gflops, "the second core is of another kind"


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=50))
def test_spread(times: list[float]) -> None:
    found, array = spread(times), np.array(times)
    assert (found.count, found.min, found.max) == (len(times), array.min(), array.max())
    assert found.median == pytest.approx(np.median(array))
    assert found.p90 == np.percentile(array, 90, method="inverted_cdf")
    assert found.p10 == np.percentile(array, 10, method="inverted_cdf")
    assert found.std == pytest.approx(array.std(ddof=1) if len(times) > 1 else 0, abs=1e-6)


def test_ratios_have_an_interval() -> None:
    random = np.random.default_rng(1)
    before = random.normal(100, 3, 60)
    ratio, low, high = ratio_interval(before, 1.1 * random.normal(100, 3, 60))
    assert low < ratio < high and 1.08 < low < 1.1 < high < 1.13
    assert ratio_interval(before, before)[0] == 1.0


@pytest.mark.parametrize("count", [1, 2, 7, 40, 41])
def test_the_interval_is_that_of_whole_samples(count: int) -> None:
    """Only middles are drawn; here all of each sample is."""
    random = np.random.default_rng(count)
    before, after = random.lognormal(0, 0.3, count), random.lognormal(0.1, 0.3, count)
    medians = [np.median(random.choice(x, (20_000, count)), axis=1) for x in (before, after)]
    expected = np.percentile(medians[1] / medians[0], (2.5, 97.5))
    assert ratio_interval(before, after)[1:] == pytest.approx(expected, rel=0.05)


def test_a_million_runs_have_one_too() -> None:
    """Whole samples of them would take 16 GB."""
    times = np.random.default_rng(0).normal(100, 1, 1_000_000)
    ratio, low, high = ratio_interval(times, 2 * times)
    assert ratio == pytest.approx(2) and 1.99 < low < 2 < high < 2.01


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("other", [[0.0] * 9, [0.0] * 5 + [5.0] * 6])
def test_times_below_a_step_of_the_clock_are_not_compared(other: list[float]) -> None:
    assert np.isnan(ratio_interval(other, [5.0] * 9)).all() and np.isnan(ratio_interval([5.0] * 9, other)).all()


def test_runs_with_a_limited_clock_are_counted() -> None:
    def seen(run: int, limit: int) -> dict[str, object]:
        return {"run": run, "khz": [limit], "limit_khz": [limit], "at_ns": run, "millidegrees": []}

    facts = {"most_khz": [2000], "observations": [seen(0, 2000), seen(3, 1500), seen(5, 2000), seen(8, 1500)]}
    assert capped_runs(facts) == [3, 4]
    assert capped_runs({}) == [] == capped_runs({"most_khz": [-1], "observations": [seen(0, -1), seen(4, -1)]})


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("profiled")
    return {d: es.compile(es.load(DIGITS), d, folder / f"{d}.edge") for d in sorted({*DEVICES.values()})}


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
    assert all(x.us.count == 3 and x.us.min > 0 for x in found.layers) and found.layers[-1].cumulative == 1.0
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


@pytest.fixture(scope="module")
def two(bundles: dict[str, Path]) -> list[Profile]:
    """The same bundle twice, in turns."""
    sessions = [open_bundle(bundles["host"], "local") for _ in range(2)]
    found = profile(sessions, [random_inputs(s.manifest) for s in sessions], num_runs=7, warmup_runs=1)
    for session in sessions:
        session.close()
    return found


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


def test_what_is_not_counted_says_why(two: list[Profile], capsys: pytest.CaptureFixture[str]) -> None:
    profiles([dataclasses.replace(two[0], facts={"counters_error": 13, "cycles": [5]})], None, json=False)
    out = capsys.readouterr().out
    assert "instructions, cache_misses: permission denied" in out and "cycles" in out


def check_trace(document: dict[str, Any]) -> None:
    """What the Trace Event Format asks of its JSON object, of metadata ("M") and of complete events ("X")."""
    assert set(document) == {"traceEvents", "displayTimeUnit"} and document["displayTimeUnit"] in ("ms", "ns")
    for event in document["traceEvents"]:
        common = {"name": str, "ph": str, "pid": int, "tid": int, "args": dict}
        own = {"M": {}, "X": {"cat": str, "ts": float, "dur": float}}[event["ph"]]
        assert set(event) == {*common, *own}
        for member, kind in {**common, **own}.items():
            assert type(event[member]) in ((int, float) if kind is float else (kind,)), (member, event[member])
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name") and set(event["args"]) == {"name"}
            assert isinstance(event["args"]["name"], str) and event["args"]["name"]
        else:
            assert event["name"] and event["ts"] >= 0 <= event["dur"]
            assert np.isfinite([event["ts"], event["dur"]]).all()


def test_trace_events(two: list[Profile]) -> None:
    """Complete events in tracks that are named, one after another; a track for each profile."""
    document = json.loads(trace_json(two), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    check_trace(document)
    tracks = [{(e["pid"], e["tid"]) for e in document["traceEvents"] if e["ph"] == kind} for kind in "MX"]
    assert tracks == [{(1, 1), (2, 1)}] * 2
    names = [e for e in document["traceEvents"] if e["ph"] == "M"]
    assert {(e["name"], e["pid"]) for e in names} == {(n, p) for n in ("process_name", "thread_name") for p in (1, 2)}
    for number, found in enumerate(two, 1):
        events = [e for e in document["traceEvents"] if e["ph"] == "X" and e["pid"] == number]
        assert [e["name"] for e in events] == [x.name for x in found.layers]
        for one, following in pairwise(events):
            assert following["ts"] == pytest.approx(one["ts"] + one["dur"])


class Tags(HTMLParser):
    """Every tag that is opened is closed, but for those that never are."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [v for k, v in attrs if k in ("src", "href")], "nothing is loaded"
        if tag not in ("meta", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_whole_and_needs_nothing_else(two: list[Profile]) -> None:
    hostile = dataclasses.replace(two[0].layers[0], name='<script>alert("x")</script>')
    heated = {
        "watched_cpus": [4], "most_khz": [2400000], "zones": ["big"],
        "observations": [
            {"at_ns": i * 10**8, "run": i, "khz": [1800000 + i], "limit_khz": [2400000], "millidegrees": [40000 + i]}
            for i in range(3)
        ],
    }  # fmt: skip
    first = dataclasses.replace(two[0], layers=(hostile, *two[0].layers[1:]), facts=heated, warnings=("hot & slow",))
    page = Tags()
    page.feed(html([first, two[1]]))
    assert page.open == ["html"], "whose end may be left out"
    words = " ".join(page.texts)
    assert "hot & slow" in words and '<script>alert("x")</script>' in words
    assert "GHz of each core over seconds" in words and "degrees Celsius" in words
    assert all(shape in words for shape in ("Roofline", "Beside each other", "CPU 4", "big"))
    assert "GHz" not in html([two[1]]), "nothing is drawn where nothing is known"


def test_csv_has_a_line_for_each_layer(two: list[Profile]) -> None:
    lines = list(csv.DictReader(io.StringIO(layers_csv(two))))
    assert [x["layer"] for x in lines] == [x.name for p in two for x in p.layers]
    assert float(lines[0]["median_us"]) == pytest.approx(two[0].layers[0].us.median, abs=1e-3)


def test_saved_profiles_are_read_again(two: list[Profile], tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(profiles_json(two))
    assert profiles_json(read_profiles(path)) == profiles_json(two)
    for text in ("", "{}", "[]", '[{"name": "m"}]', profiles_json([dataclasses.replace(two[0], run_us=())])):
        path.write_text(text)
        with pytest.raises(InputError, match=r"p\.json"):
            read_profiles(path)
    document = json.loads(profiles_json(two[:1]))
    for us in (float("nan"), float("inf"), -1.0, 1e300):
        text = json.dumps([{**document[0], "run_us": [5.0, us]}])
        path.write_text(text)
        with pytest.raises(InputError, match=r"p\.json"):
            read_profiles(path)


def test_the_command(call: Call, bundles: dict[str, Path], tmp_path: Path) -> None:
    host = bundles["host"]
    files = ["--csv", "a.csv", "--trace", "t.json", "--save", "s.json"]
    code, out, err = call("profile", host, host, "--num-runs", "3", *files, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert len(found["profiles"]) == 2 and found["profiles"][0]["whole"]["count"] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "s.json", "t.json"]
    code, out, err = call("profile", host, "--num-runs", "3")
    assert code == 0 and "layers in run order, measured" in out and "By type" in out and "sum of layers" in out
    assert "exists" in call("profile", host, "--save", "s.json")[2]


def test_a_baseline_is_a_gate(call: Call, bundles: dict[str, Path], two: list[Profile]) -> None:
    Path("same.json").write_text(profiles_json([two[0]]))
    faster = dataclasses.replace(two[0], run_us=tuple(us / 3 for us in two[0].run_us))
    Path("faster.json").write_text(profiles_json([faster]))
    assert call("diff", "same.json", "same.json", "--fail-above", "5")[0] == 0
    code, out, err = call("diff", "faster.json", "same.json", "--fail-above", "5")
    assert code == 5 and "3.000 times as long" in out and "more than 5%" in err
    assert call("diff", "same.json", "faster.json", "--fail-above", "0%")[0] == 0
    assert call("diff", "faster.json", "same.json", "--fail-above", "5%")[0] == 5
    for wrong in ("five", "nan", "-1", "1e400", ""):
        code, _, err = call("diff", "faster.json", "same.json", "--fail-above", wrong)
        assert code == 2 and "--fail-above 5%" in err
    code, out, _ = call("diff", "faster.json", "same.json", "--json")
    assert code == 0 and json.loads(out)["ratio"] == pytest.approx(3)
    gate = ["--baseline", "faster.json", "--fail-above", "1"]
    code, out, err = call("profile", bundles["host"], "--num-runs", "3", *gate)
    assert code == 5 and "longer than" in err and "times as long" in out
    code, out, err = call("profile", bundles["host"], "--num-runs", "3", *gate, "--json")
    assert code == 5 and json.loads(out)["baseline"]["ratio"] > 1.01, "one document, with both"


def test_times_that_cannot_be_compared_pass_no_gate(call: Call, two: list[Profile]) -> None:
    Path("same.json").write_text(profiles_json([two[0]]))
    Path("none.json").write_text(profiles_json([dataclasses.replace(two[0], run_us=(0.0,) * 5, starts=(5,))]))
    for names in (("same.json", "none.json"), ("none.json", "same.json")):
        code, out, err = call("diff", *names, "--fail-above", "5%")
        assert code == 2 and "cannot be compared" in out and "a finer clock" in err
        code, out, _ = call("diff", *names, "--json")
        assert code == 0 and json.loads(out)["ratio"] is None
    assert "cannot be compared" in html([two[0], dataclasses.replace(two[0], run_us=(0.0,) * 5, starts=(5,))])


@pytest.mark.parametrize("starts", [(2, 2), (6,), (0, 5), (-1, 6), (3, 3)])
def test_starts_are_of_the_runs(starts: tuple[int, ...], call: Call, two: list[Profile]) -> None:
    found = dataclasses.replace(two[0], run_us=(1.0,) * 5, starts=starts)
    Path("a.json").write_text(profiles_json([found]))
    code, _, err = call("diff", "a.json", "a.json")
    assert code == 2 and "starts" in err


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


def test_what_is_not_comparable_is_said(call: Call, two: list[Profile]) -> None:
    one = two[0]
    others = tuple(dataclasses.replace(x, name=f"other {x.name}") for x in one.layers)
    Path("a.json").write_text(profiles_json([one]))
    Path("b.json").write_text(
        profiles_json([
            dataclasses.replace(
                one, bundle="\x1b[31mred.edge", layers=others, precision="f16", machine={**one.machine, "threads": "4"}
            ),
            one,
        ])
    )  # fmt: skip
    for option in ([], ["--json"]):
        assert "warning" not in call("diff", "a.json", "a.json", *option)[2]
        code, out, err = call("diff", "a.json", "b.json", *option)
        assert code == 0 and "\x1b" not in out + err and ("red.edge" in out) == (not option)
        for words in ("another precision: f32, then f16", "threads: 1, then 4", "no layer of the same", "2 profiles"):
            assert words in err


def test_a_database_that_cannot_be_written_costs_no_profile(
    call: Call, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("EDGESPARSE_TUNED", str(Path("file", "tuned").absolute()))
    monkeypatch.setattr("edgesparse.corrections.why_not", lambda *_: "")
    code, out, err = call("profile", bundles["host"], "--num-runs", "3")
    assert code == 0 and "By type" in out and "predictions are not corrected by this" in err and "file" in err


def test_options_that_do_not_go_together(call: Call, bundles: dict[str, Path]) -> None:
    host = bundles["host"]
    assert call("profile", host, host, host)[0] == 2
    code, _, err = call("profile", host, "--fail-above", "5")
    assert code == 2 and "--baseline" in err
    code, _, err = call("profile", host, "--csv", "x", "--html", Path("x").absolute())
    assert code == 2 and "same name" in err and not Path("x").exists()
    code, _, err = call("profile", host, "--baseline", "none.json")
    assert code == 2 and "none.json" in err


def test_emulated_times_are_called_so(call: Call, bundles: dict[str, Path], require: object) -> None:
    require("qemu-aarch64")  # type: ignore[operator]
    code, out, err = call("profile", bundles["rpi5"], "--num-runs", "2")
    assert code == 0 and "run order, emulated" in out and "says nothing about a device" in err.replace("say ", "says ")
    assert read_manifest(bundles["rpi5"]).device == "rpi5"
