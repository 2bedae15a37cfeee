"""llama.cpp as a peer of decoders: the same shape as a GGUF file of Q4_0 or Q8_0, decoded token by token.

It is built here from the source package of llama-cpp-python, for this machine's instructions and with OpenMP, as pip
does it; that takes a quarter of an hour of one core, once. Weights of Q4_0 and Q8_0 are rearranged for the instruction
set as they are loaded, which is llama.cpp's default.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from bench import cache
from bench.llm_shape import SHAPES, Shape

NAME = "llama_cpp"
REQUIREMENTS = ("llama-cpp-python==0.3.36", "gguf==0.19.0", "numpy")
BYTES = {"q4_0": (18, 2), "q8_0": (34, 2)}
"""Of a block of 32 weights, and those of them that are its scale, which comes first."""
WARMUP = 4


class LlamaCpp:
    """A context manager: a process of its own that has ``shape`` loaded on ``cpus``."""

    def __init__(self, shape: Shape, kind: str, cpus: tuple[int, ...]) -> None:
        from bench.environments import python_for
        from bench.process import Process

        python = python_for(NAME, sys.modules[__name__])
        file = cache.folder("gguf") / f"{shape.name}-{kind}.gguf"
        command = [str(python), "-m", "bench.llm_llama_cpp", shape.name, kind, str(file), ",".join(map(str, cpus))]
        self._process = Process(command, Path(__file__).resolve().parent.parent, limit_s=600)
        self.version = ""

    def seconds(self, tokens: int) -> list[float]:
        """Of each of ``tokens`` decoded one after the other; on one core those that the process had it.

        Raises:
            bench.process.ChildFailure: llama.cpp refused, crashed or hung.
        """
        from bench.process import ChildFailure

        self._process.to.write(f"{tokens}\n".encode())
        self._process.to.flush()
        line = self._process.answer("decode").readline()
        if not line:
            raise ChildFailure(f"llama.cpp {self._process.end()}")
        answer = json.loads(line)
        self.version = answer["version"]
        return [float(s) for s in answer["seconds"]]

    def __enter__(self) -> LlamaCpp:
        self._process.__enter__()
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.__exit__(*error)


def write_gguf(shape: Shape, kind: str, path: Path) -> None:
    """Random weights of one scale; without a vocabulary, tokens are numbers."""
    gguf: Any = __import__("gguf")
    random = np.random.default_rng(0)
    size, head = BYTES[kind]
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(str(partial), "llama")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.dim)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.dim // shape.heads)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("no_vocab")

    def matrix(name: str, outputs: int, inputs: int) -> None:
        blocks = random.integers(0, 256, (outputs * inputs // 32, size), np.uint8)
        blocks[:, :head] = np.array([0.02 if kind == "q4_0" else 0.001], np.float16).view(np.uint8)
        raw = getattr(gguf.GGMLQuantizationType, kind.upper())
        writer.add_tensor(name, blocks.reshape(outputs, -1), raw_dtype=raw)

    def gain(name: str) -> None:
        writer.add_tensor(name, np.ones(shape.dim, np.float32))

    names = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up"}
    matrix("token_embd.weight", shape.vocabulary, shape.dim)
    for layer in range(shape.layers):
        gain(f"blk.{layer}.attn_norm.weight")
        gain(f"blk.{layer}.ffn_norm.weight")
        for site, outputs, inputs in shape.linears():
            matrix(f"blk.{layer}.{names.get(site, 'ffn_down')}.weight", outputs, inputs)
    gain("output_norm.weight")
    matrix("output.weight", shape.vocabulary, shape.dim)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(path)


def main() -> None:
    """In the peer's environment: one line of JSON for each line with a number of tokens."""
    name, kind, file, cpus = sys.argv[1:5]
    shape, path, cores = SHAPES[name], Path(file), {int(cpu) for cpu in cpus.split(",")}
    os.sched_setaffinity(0, cores)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if not path.exists():
        write_gguf(shape, kind, path)
    decode, version = loaded(path, shape, len(cores))
    clock = time.process_time if len(cores) == 1 else time.perf_counter
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            begin = clock()
            decode()
            seconds.append(clock() - begin)
        replies.write(json.dumps({"seconds": seconds, "version": version}) + "\n")
        replies.flush()


def loaded(path: Path, shape: Shape, threads: int) -> tuple[Any, str]:
    """(a function that decodes one more token, the version)."""
    import ctypes

    llama: ModuleType | Any = __import__("llama_cpp")
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
    options = llama.llama_context_default_params()
    options.n_ctx, options.n_threads, options.n_threads_batch = shape.context, threads, threads
    context = llama.llama_init_from_model(model, options)
    if not context:
        raise RuntimeError(f"llama.cpp does not load {path.name}")
    token, position = (ctypes.c_int32 * 1)(1), 0

    def decode() -> None:
        nonlocal position
        if position == shape.context - 1:
            llama.llama_memory_clear(llama.llama_get_memory(context), True)
            position = 0
        if llama.llama_decode(context, llama.llama_batch_get_one(token, 1)) != 0:
            raise RuntimeError("llama_decode failed")
        token[0], position = (token[0] * 7 + 3) % shape.vocabulary, position + 1

    for _ in range(WARMUP):
        decode()
    return decode, str(llama.__version__)


if __name__ == "__main__":
    main()
