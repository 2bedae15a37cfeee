"""``python -m bench.tflite [--sparse] IN.onnx OUT.tflite``, in an environment that has ai-edge-litert and onnx.

Exit code 3 and a reason on stderr: the network has no conversion.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx

from bench.engine import CannotRun, Network
from bench.tflite.convert import convert


def main() -> int:
    *options, source, target = sys.argv[1:]
    graph = onnx.load(source, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: _shape(value) for value in graph.input if value.name not in constants}
    outputs = {value.name: _shape(value) for value in graph.output}
    try:
        network = Network(Path(source), inputs, outputs, Path(target).parent, 1)
        convert(network, Path(target), sparse="--sparse" in options)
    except CannotRun as error:
        print(error, file=sys.stderr)
        return 3
    return 0


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


if __name__ == "__main__":
    sys.exit(main())
