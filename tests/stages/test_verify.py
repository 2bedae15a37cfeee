"""What is no model is refused before any stage looks into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import edgesparse as es


@pytest.mark.parametrize("given", ["model.onnx", Path("model.onnx"), None, {"x": 1}])
def test_what_is_no_model(given: Any, tmp_path: Path) -> None:
    calls = (
        lambda: es.compile(given, out=tmp_path / "m.edge"), lambda: es.sparsify(given, "unstructured", 0.5),
        lambda: es.tune(given),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(es.InputError, match=f"not a model but {type(given).__name__}") as caught:
            call()
        assert "es.load(path) reads a file" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
