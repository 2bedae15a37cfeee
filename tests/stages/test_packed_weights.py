"""weights.packed: it unpacks to weights.bin bit by bit, here and in JavaScript; never larger than dense weights."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgesparse as es
from edgesparse.bands import in_bands
from edgesparse.compile import lowered
from edgesparse.devices import load_device
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import PackedWeights
from edgesparse.packed_weights import GROUP, Part, decode, encode, rounded
from edgesparse.runtimes import node as node_runtime
from edgesparse.select import select
from edgesparse.sparsify import sparsify
from edgesparse.storage import check_storage, in_storage, pack
from edgesparse.stored import weights_bin
from edgesparse.tuned import tuned
from edgesparse.types import Array, Selection
from tests.conftest import PROJECT

TARGET = load_device("browser").target
RANDOM = np.random.default_rng(0)
NORMAL = RANDOM.standard_normal(5000).astype(np.float32)
SPARSE = np.where(RANDOM.random(5000) < 0.6, np.float32(0), NORMAL)
QUANTISED = (RANDOM.integers(-128, 128, 3000) * np.float64(np.float32(0.037))).astype(np.float32)
OFFSETS = np.concatenate([np.sort(RANDOM.choice(512, 300, replace=False)) * 12544 for _ in range(16)]).astype(np.int32)
ODD = np.array([0.0, -0.0, 1e-45, -1e38, np.inf, -np.inf, np.nan, 3.0], np.float32)
ARRAYS = {
    "normal": NORMAL, "sparse": SPARSE, "quantised": QUANTISED, "offsets": OFFSETS, "odd": ODD,
    "zeros": np.zeros(70, np.float32), "start": np.arange(0, 6400, 64, dtype=np.int32), "one": NORMAL[:1],
    "bytes": np.arange(7, dtype=np.uint8), "int64": np.array([-1, 2**40, 5], np.int64),
    "two bytes of index": np.tile(NORMAL[:1000], 9),
}  # fmt: skip


def laid_out(arrays: list[Array]) -> tuple[list[Part], bytes]:
    """As `weights_bin` does: each begins at a multiple of 64."""
    parts, blob = [], b""
    for array in arrays:
        parts.append(Part(len(blob), array))
        blob += array.tobytes()
        blob += bytes(-len(blob) % 64)
    return parts, blob


EVERY, BLOB = laid_out(list(ARRAYS.values()))


@pytest.mark.parametrize("name", ARRAYS)
def test_it_unpacks_to_the_same_bits(name: str) -> None:
    array = ARRAYS[name]
    data, packed = encode([Part(64, array)], bytes(64) + array.tobytes())
    assert decode(packed, data, 64 + array.nbytes) == bytes(64) + array.tobytes()
    assert packed.sha256 == hashlib.sha256(bytes(64) + array.tobytes()).hexdigest() and packed.bytes == len(data)


@pytest.mark.parametrize(("name", "coding"), [("quantised", "int8"), ("offsets", "table"), ("normal", "planes")])
def test_values_that_are_alike_are_coded_as_such(name: str, coding: str) -> None:
    (part,) = encode([Part(0, ARRAYS[name])], ARRAYS[name].tobytes())[1].parts
    assert part.coding == coding


def test_a_left_out_input_costs_less_than_a_byte() -> None:
    data, _ = encode([Part(0, OFFSETS)], OFFSETS.tobytes())
    assert len(data) < 0.4 * len(OFFSETS) < len(gzip.compress(OFFSETS.tobytes(), 9))


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_what_is_rounded_is_stored_exactly_and_rounded_again_stays(scale: float) -> None:
    values = (NORMAL * np.float32(scale)).astype(np.float32)
    for storage, bound in (("f16", 2.0**-11), ("int8", None)):
        after = rounded(values, storage)
        data, packed = encode([Part(0, after, storage)], after.tobytes(), storage)
        assert packed.parts[0].coding == storage and decode(packed, data, after.nbytes) == after.tobytes()
        assert np.array_equal(rounded(after, storage), after)
        error = np.abs(after.astype(np.float64) - values)
        if bound is None:
            groups = np.pad(values, (0, -len(values) % GROUP)).reshape(-1, GROUP)
            step = np.abs(groups.astype(np.float64)).max(axis=1) / 127
            assert (error <= 0.51 * np.repeat(step, GROUP)[: len(values)]).all()
        else:
            assert (error <= bound * np.abs(values.astype(np.float64)) + 1e-9 * scale).all()


def test_minus_zero_is_left_out_and_what_was_quantised_stays_exact() -> None:
    assert not np.signbit(rounded(np.array([-0.0, 1], np.float32), "f32")).any()
    for storage in ("f16", "int8"):
        assert np.array_equal(rounded(QUANTISED, storage), QUANTISED)
        assert np.array_equal(rounded(ODD, storage), ODD, equal_nan=True)


def test_damage_is_found() -> None:
    data, packed = encode(EVERY, BLOB)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    whole = gzip.decompress(data)
    other = packed.model_copy(update={"sha256": "0" * 64})
    for broken, described in [
        (data[:-9], packed), (bytes(flipped), packed), (b"", packed), (b"no gzip", packed), (data, other),
        (gzip.compress(whole[:-1]), packed), (gzip.compress(whole + b"1"), packed),
    ]:  # fmt: skip
        with pytest.raises(RuntimeFailure, match=r"weights\.packed is damaged"):
            decode(described, broken, len(BLOB))
    with pytest.raises(RuntimeFailure, match="expected 64"):
        decode(packed, data, 64)


# -- whole models ------------------------------------------------------------------------------------------------------


def selected(model: ir.Model) -> Selection:
    return in_bands(select(lowered(model, TARGET)[0], TARGET, tuned(TARGET)), TARGET)


def convolutions(channels: int = 32) -> ir.Model:
    """3x3 convolutions, for which dense is Winograd: 16/9 or 4 times the weights."""
    import onnx
    from onnx import helper, numpy_helper

    random = np.random.default_rng(1)
    shapes = [(channels, 3, 3, 3), (channels, channels, 3, 3), (2 * channels, channels, 3, 3)]
    weights = [(random.standard_normal(s) * 0.1).astype(np.float32) for s in shapes]
    nodes = [
        helper.make_node("Conv", [f"x{i}", f"w{i}"], [f"x{i + 1}"], name=f"conv{i}", pads=[1, 1, 1, 1])
        for i in range(len(weights))
    ]
    ports = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, c, 24, 24])
        for name, c in (("x0", 3), (f"x{len(weights)}", 2 * channels))
    ]
    constants = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    graph = helper.make_graph(nodes, "convolutions", ports[:1], ports[1:], constants)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


def model_named(name: str, data_dir: Path) -> ir.Model:
    if name == "convolutions":
        return convolutions()
    return es.load(PROJECT / "examples" / name if name == "digits.onnx" else data_dir / name)


MODELS = (
    "convolutions", "digits.onnx", "kws/kws_ref_model.onnx", "resnet8/resnet8_cifar10.onnx", "vww/vww_96.onnx",
    "ultraface/version-RFB-320.onnx",
)  # fmt: skip


LARGE = MODELS[-2:]  # half a minute each: two cases stand for all
CASES = [("dense", 0), ("nm:2:4", 0.5), *((p, z) for p in ("unstructured", "block:4x1") for z in (0.3, 0.5, 0.7, 0.9))]
FEW = [("dense", 0), ("block:4x1", 0.7)]


@pytest.mark.parametrize(
    ("name", "pattern", "zeros"), [(name, *case) for name in MODELS for case in (FEW if name in LARGE else CASES)]
)
def test_it_is_never_larger_than_gzip_of_the_dense_weights(
    name: str, pattern: str, zeros: float, data_dir: Path
) -> None:
    model = model_named(name, data_dir)
    if zeros:
        sparsify(model, pattern, zeros)
    constants = [v.const_value for v in model.graph.initializers.values() if v.const_value is not None]
    dense = len(gzip.compress(b"".join(c.numpy().tobytes() for c in constants), 9))
    exact = selected(model)
    for storage in ("f32", "f16", "int8"):
        selection, _ = in_storage(exact, storage)
        data, packed = pack(selection, storage)
        assert len(data) <= dense and decode(packed, data, len(weights_bin(selection)[0])) == weights_bin(selection)[0]
        dense = len(data)  # each storage is smaller than the one before


def test_winograd_weights_travel_as_they_were() -> None:
    selection, _ = in_storage(selected(convolutions()), "f32")
    _, packed = pack(selection)
    assert any(step.binding.stem.startswith("winograd") for step in selection.steps)
    assert any(part.winograd is not None for part in packed.parts)


def test_biases_and_indices_stay_exact_and_errors_are_told() -> None:
    model = es.load(PROJECT / "examples" / "digits.onnx")
    exact = selected(model)
    for storage, most in (("f16", 2.0**-11), ("int8", 0.51 / 127)):
        selection, errors = in_storage(exact, storage)
        assert errors and all(0 < e.rms <= e.max <= most for e in errors), storage
        weighted = {e.layer for e in errors}
        for before, after in zip(exact.steps, selection.steps, strict=True):
            for parameter in ("bias", "offset", "start"):
                assert before.binding.arguments.get(parameter) == after.binding.arguments.get(parameter)
            assert (before.binding is not after.binding) == (before.call.layer in weighted)


def test_which_storage_there_is() -> None:
    check_storage("int8", TARGET)
    with pytest.raises(InputError, match="there is no storage 'f8'"):
        check_storage("f8", TARGET)
    with pytest.raises(InputError, match="is for WebAssembly") as caught:
        check_storage("f16", load_device("rpi5").target)
    assert "--precision f16" in caught.value.hint


# -- JavaScript --------------------------------------------------------------------------------------------------------

SCRIPT = """
import { readFileSync, writeFileSync } from "node:fs";
import { decodeWeights } from "UNPACK";
const manifest = JSON.parse(readFileSync("manifest.json"));
const data = new Uint8Array(readFileSync("weights.packed"));
const chunks = (size) => new ReadableStream({
  start(to) {
    for (let at = 0; at < data.length; at += size) to.enqueue(data.slice(at, at + size));
    to.close();
  },
});
const told = async (what) => {
  try { await what(); return "accepted"; } catch (e) { return [e.name, e.code, e.message]; }
};
BODY
"""


def javascript(folder: Path, packed: PackedWeights, data: bytes, size: int, body: str) -> str:
    document = {"weights_bytes": size, "weights": packed.model_dump(mode="json", exclude_none=True)}
    (folder / "manifest.json").write_text(json.dumps(document))
    (folder / "weights.packed").write_bytes(data)
    script = SCRIPT.replace("UNPACK", (PROJECT / "runtimes/web/unpack.mjs").as_uri()).replace("BODY", body)
    (folder / "main.mjs").write_text(script)
    node = node_runtime._node(folder, relaxed=False)[0]
    done = subprocess.run([node, "main.mjs"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("storage", ["f32", "f16", "int8"])
def test_javascript_gives_the_same_bits(storage: str, tmp_path: Path, require: Callable[[str], None]) -> None:
    require("node")
    selection, _ = in_storage(selected(convolutions()), storage)
    data, packed = pack(selection, storage)
    weights = weights_bin(selection)[0]
    body = """
    const progress = [];
    const into = new Uint8Array(new ArrayBuffer(manifest.weights_bytes + 64), 64);
    const same = await decodeWeights(manifest, data, { into, onProgress: (...x) => progress.push(x), verify: true });
    writeFileSync("out.bin", into);
    const other = await decodeWeights(manifest, chunks(7));
    const [last] = progress.slice(-1), rising = progress.every(([n], i) => i === 0 || n >= progress[i - 1][0]);
    console.log(same === into, Buffer.compare(into, other), last[0] === last[1] && last[1] === into.length, rising);
    """
    assert javascript(tmp_path, packed, data, len(weights), body) == "true 0 true true\n"
    assert (tmp_path / "out.bin").read_bytes() == weights


def test_javascript_knows_every_coding(tmp_path: Path, require: Callable[[str], None]) -> None:
    require("node")
    data, packed = encode(EVERY, BLOB)
    assert {p.coding for p in packed.parts} == {"planes", "table", "int8"}
    javascript(
        tmp_path, packed, data, len(BLOB), 'writeFileSync("out.bin", await decodeWeights(manifest, chunks(100)));'
    )
    assert (tmp_path / "out.bin").read_bytes() == BLOB


def test_javascript_finds_damage(tmp_path: Path, require: Callable[[str], None]) -> None:
    require("node")
    data, packed = encode(EVERY, BLOB)
    body = """
    const flipped = data.slice();
    flipped[data.length >> 1] ^= 4;
    const noise = new Error("the line is gone");
    const broken = new ReadableStream({ pull: (to) => to.error(noise) });
    const { weights } = manifest;
    const short = { ...manifest, weights: { ...weights, parts: weights.parts.slice(1) } };
    const other = { ...manifest, weights: { ...weights, sha256: "00" } };
    for (const what of [
      () => decodeWeights(manifest, data.subarray(0, data.length - 9)), () => decodeWeights(manifest, flipped),
      () => decodeWeights(manifest, new Uint8Array(0)), () => decodeWeights(manifest, new Uint8Array([1, 2])),
      () => decodeWeights(manifest, data, { into: new Uint8Array(64) }), () => decodeWeights(short, data),
      () => decodeWeights(other, data, { verify: true }),
      () => decodeWeights({ ...manifest, weights: undefined }, data),
      () => decodeWeights(manifest, broken),
    ]) console.log(JSON.stringify(await told(what)));
    """
    lines = [json.loads(x) for x in javascript(tmp_path, packed, data, len(BLOB), body).splitlines()]
    assert [tuple(line[:2]) for line in lines[:-1]] == [("LoadError", "damaged")] * 7 + [("LoadError", "manifest")]
    assert lines[-1][0] == "Error" and lines[-1][2] == "the line is gone"


def test_a_file_that_holds_far_more_than_it_says_is_not_unpacked(
    tmp_path: Path, require: Callable[[str], None]
) -> None:
    """Chromium unpacks all of a chunk, whoever waits: 600 MB of 0.6 MB, unless chunks are small."""
    require("node")
    packed = encode(EVERY, BLOB)[1]
    bomb = gzip.compress(bytes(50_000_000), 9)
    body = """
    const Real = DecompressionStream;
    const sizes = [];
    globalThis.DecompressionStream = class {
      constructor(format) {
        const real = new Real(format);
        const seen = new TransformStream({ transform(chunk, to) { sizes.push(chunk.length); to.enqueue(chunk); } });
        this.writable = seen.writable;
        this.readable = seen.readable.pipeThrough(real);
      }
    };
    for (const source of [data, chunks(data.length)]) {
      console.log((await told(() => decodeWeights(manifest, source)))[1], Math.max(...sizes));
      sizes.length = 0;
    }
    """
    for line in javascript(tmp_path, packed, bomb, len(BLOB), body).splitlines():
        code, largest = line.split()
        assert code == "damaged" and int(largest) <= 16384 < len(bomb)
