"""Real models profiled on the test devices: outputs of onnxruntime, every layer timed, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgesparse as es
from edgesparse import runtimes
from edgesparse.profile import profile
from edgesparse.samples import random_inputs
from tests.attached.faults import Attached

MODELS = {"kws/kws_ref_model.onnx": {"input_1": (1, 49, 10, 1)}, "ultraface/version-RFB-320.onnx": None}


@pytest.mark.parametrize("name", MODELS)
def test_profiled_on_a_device(name: str, attached: Attached, data_dir: Path, tmp_path: Path) -> None:
    before = attached.root.files()
    bundle = es.compile(es.load(data_dir / name, shapes=MODELS[name]), "pixel-8", tmp_path / "m.edge")
    with runtimes.open(bundle, attached.runtime) as session:
        inputs = random_inputs(session.manifest)
        outputs = session.run(inputs)
        (found,) = profile([session], [inputs], num_runs=2, warmup_runs=0)
    reference = onnxruntime.InferenceSession(data_dir / name, providers=["CPUExecutionProvider"])
    for port, expected in zip(reference.get_outputs(), reference.run(None, inputs), strict=True):
        assert np.allclose(outputs[port.name], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert [x.name for x in found.layers] == [x.name for x in session.manifest.layers if x.calls]
    assert found.whole.count == 2 and all(x.us.min > 0 for x in found.layers) and not found.emulated
    assert found.facts["page_bytes"] >= 4096 and len(found.facts["observations"]) >= 2
    assert attached.root.files() == before
