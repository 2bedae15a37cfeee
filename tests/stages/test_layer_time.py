"""`layer_time` and `roof`: figures of a layer, by hand."""

from __future__ import annotations

import pytest

import edgesparse as es
from edgesparse.layer_time import layer_times
from edgesparse.manifest import Layer, Manifest, Port
from edgesparse.roof import Roof, roof
from edgesparse.types import CallTimes


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
