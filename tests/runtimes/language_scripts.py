"""What tests of language models in JavaScript share: bundles, and scripts for node.js that use them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesparse.decoder import bundle as contents
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.model import InputRule
from edgesparse.runtimes import node as node_runtime
from tests.conftest import require
from tests.decoder.made import decoder, with_rules

from .test_web_tokenizer import tokenizer_bin


def language_bundles(folder: Path) -> None:
    """``lm.edge``, whose tokens are bytes and whose layers skip inputs, and ``words.edge``, with a tokenizer.bin.

    Weights are random: what the first writes is hardly ever UTF-8.
    """
    model = with_rules(
        decoder(vocabulary=256), lambda site, inputs: InputRule("teal", 0.5, np.array([0.5], np.float32))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "FILE_BYTES", 50_000)  # so that there are several
        compile_decoder(model, "browser", folder / "lm.edge", weights="f32")
    words = decoder(vocabulary=285, bos=1, stops=(1, 2))
    tokenizer = ("tokenizer.bin", tokenizer_bin())
    compile_decoder(words, "browser", folder / "words.edge", weights="int8", tokenizer=tokenizer)
    (folder / "index.html").write_text('<!doctype html><title>test</title><link rel="icon" href="data:,">')


def run(bundle: Path, body: str, *flags: str) -> Any:
    """What the script prints as JSON, with ``lm`` the model in this thread, and ``edge`` its module."""
    require("node")
    text = f"""
    import * as edge from {json.dumps((bundle / "index.mjs").as_uri())};
    import assert from "node:assert/strict";
    const told = (value) => console.log(JSON.stringify(value));
    async function written(lm, prompt, options) {{
      const pieces = [], texts = lm.generate(prompt, options);
      for (;;) {{
        const {{ value, done }} = await texts.next();
        if (done) return {{ pieces, text: pieces.join(""), finish: value, tokens: lm.tokens, stats: lm.stats }};
        pieces.push(value);
      }}
    }}
    {body}"""
    command = [next(node_runtime._candidates()), *flags, "--input-type=module", "-e", text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[0] if len(lines) == 1 else lines


def relaxed_flags() -> list[str]:
    path = next(node_runtime._candidates())
    return [*node_runtime._relaxed_flags(node_runtime._version(path)), "--no-liftoff"]
