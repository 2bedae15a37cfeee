"""Large checkpoints: they are imported weight by weight, and what is written is what ONNX libraries read."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from edgesparse.decoder.checkpoint import load_checkpoint
from edgesparse.decoder.files import save_decoder
from edgesparse.decoder.onnx_file import write_onnx
from edgesparse.decoder.to_onnx import to_onnx
from tests.decoder.hf_model import BASE, random_tensors, write

SHAPE = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "vocab_size": 4000}


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_no_more_than_a_few_weights_are_in_memory(
    dtype: type[np.float32 | np.float16], tmp_path: Path, require: Callable[[str], None]
) -> None:
    """32 MB of float32, of which the largest matrix has 4."""
    require("safetensors")
    config = {**BASE, **SHAPE}
    tensors = {name: array.astype(dtype) for name, array in random_tensors(config).items()}
    folder, largest = write(tmp_path / "lm", config, tensors), max(t.nbytes for t in tensors.values())
    assert sum(t.nbytes for t in tensors.values()) > 7 * largest
    save_decoder(to_onnx(load_checkpoint(folder)), tmp_path / "first.onnx")  # imports of packages are none of ours
    tracemalloc.start()
    try:
        save_decoder(to_onnx(load_checkpoint(folder)), tmp_path / "lm.onnx")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * largest + (2 << 20)
    found = {t.name: t for t in onnx.load(tmp_path / "lm.onnx").graph.initializer}
    up = numpy_helper.to_array(found["layers.5.up.weight"])
    np.testing.assert_array_equal(up, tensors["model.layers.5.mlp.up_proj.weight"].T)
    np.testing.assert_array_equal(numpy_helper.to_array(found["lm_head.weight"]), tensors["lm_head.weight"].T)


def test_tensors_at_odd_places(tmp_path: Path, require: Callable[[str], None]) -> None:
    """A file whose header has any length puts floats where no processor would."""
    require("safetensors")
    config = BASE
    tensors = random_tensors(config)
    folder = write(tmp_path / "lm", config, tensors)
    data = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little") + 3
    (folder / "model.safetensors").write_bytes(
        size.to_bytes(8, "little") + data[8 : size + 5] + b"   " + data[size + 5 :]
    )
    down = load_checkpoint(folder).blocks[1].down.weight
    np.testing.assert_array_equal(down, tensors["model.layers.1.mlp.down_proj.weight"])


def test_the_file_is_what_protobuf_writes(tmp_path: Path, require: Callable[[str], None]) -> None:
    """But for the order of weights and what is said of them twice; those of more than 64 KB are written one by one."""
    require("safetensors")
    config = {**BASE, "vocab_size": 1000}
    model = to_onnx(load_checkpoint(write(tmp_path / "lm", config, random_tensors(config))))
    expected, names = ir.to_proto(model), list(model.graph.initializers)
    with open(tmp_path / "lm.onnx", "wb") as file:
        write_onnx(model, file)
    found = onnx.load(tmp_path / "lm.onnx")
    onnx.checker.check_model(found)
    assert list(model.graph.initializers) == names
    large = [t for t in expected.graph.initializer if len(t.raw_data) >= 1 << 16]
    assert {t.name for t in large} == {"embed_tokens.weight", "lm_head.weight"}
    for proto in (expected, found):
        said = [v for v in proto.graph.value_info if v.name not in {t.name for t in large}]  # the weight says the same
        del proto.graph.value_info[:]
        proto.graph.value_info.extend(said)
        entries = sorted(proto.graph.initializer, key=lambda t: t.name)
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(entries)
    assert found == expected
