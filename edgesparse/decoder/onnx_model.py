"""Which ONNX models are language models, and what they are compiled from."""

from __future__ import annotations

import onnx_ir as ir

from edgesparse.decoder.metadata import FACTS
from edgesparse.decoder.model import Decoder
from edgesparse.decoder.recognise import recognise
from edgesparse.decoder.tokenizer import tokenizer_of

_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32)


def is_decoder(model: ir.Model) -> bool:
    """Whether ``model`` says so, or has token numbers and a cache of keys and values among its inputs."""
    if FACTS in model.metadata_props:
        return True
    inputs = model.graph.inputs
    tokens = any(x.dtype in _INTEGERS for x in inputs)
    caches = sum(x.shape is not None and len(x.shape) == 4 and x.dtype not in _INTEGERS for x in inputs)
    grown = sum(x.shape is not None and len(x.shape) == 4 for x in model.graph.outputs)
    return tokens and caches >= 2 and caches == grown


def decoder_of(model: ir.Model) -> tuple[Decoder, tuple[str, bytes] | None]:
    """The decoder in ``model``, and the file of its tokenizer: name and content. Raises as `recognise`."""
    decoder = recognise(model)
    tokenizer = tokenizer_of(model, decoder.vocabulary)
    if tokenizer is None or not tokenizer.file_name:
        return decoder, None
    return decoder, (tokenizer.file_name, tokenizer.to_bytes())
