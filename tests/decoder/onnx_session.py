"""A decoder in ONNX, run by onnxruntime: all at once, token by token, greedily."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from edgesparse.types import Array


class OnnxSession:
    """Tokens after tokens; the cache goes from call to call. Inputs and outputs are told apart by name and order:
    ``input_ids``, ``position_ids``, caches; logits, caches."""

    def __init__(self, model: ir.Model) -> None:
        data = ir.to_proto(model).SerializeToString()
        onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.caches = [i for i in self.session.get_inputs() if i.name not in ("input_ids", "position_ids")]
        self.start()

    def start(self) -> None:
        self.position = 0
        self.past = [np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32) for i in self.caches]

    def __call__(self, *tokens: int) -> Array:
        """(tokens, vocabulary)."""
        feeds = {cache.name: past for cache, past in zip(self.caches, self.past, strict=True)}
        feeds["input_ids"] = np.array([tokens], np.int64)
        feeds["position_ids"] = np.arange(self.position, self.position + len(tokens), dtype=np.int64)[None]
        logits, *self.past = self.session.run(None, feeds)
        self.position += len(tokens)
        found: Array = logits[0]
        return found

    def both_ways(self, tokens: Array) -> tuple[Array, Array]:
        """Logits of all tokens at once, and of one after the other."""
        self.start()
        at_once = self(*tokens.tolist())
        self.start()
        return at_once, np.concatenate([self(int(token)) for token in tokens])

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        self.start()
        found = [int(self(*prompt)[-1].argmax())]
        while len(found) < count:
            found.append(int(self(found[-1])[-1].argmax()))
        return found
