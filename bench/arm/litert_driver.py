"""Runs inside the emulator: ``litert_driver.py MODEL.tflite IN.bin OUT.bin INFERENCES``, one thread."""

import importlib
import sys

import numpy as np


def main(model: str, source: str, target: str, inferences: str) -> None:
    litert = importlib.import_module("ai_edge_litert.interpreter")  # is there inside the emulator only
    interpreter = litert.Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(into["index"], np.fromfile(source, np.float32).reshape(into["shape"]))
    for _ in range(int(inferences)):
        interpreter.invoke()
    interpreter.get_tensor(out["index"]).tofile(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
