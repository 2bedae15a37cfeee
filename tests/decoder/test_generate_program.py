"""The programs that generate, started by hand: generate.c of arm64 bundles, and generator.mjs for WebAssembly."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesparse import runtimes
from edgesparse.decoder.compile import compile_decoder
from edgesparse.runtimes import node
from edgesparse.runtimes.generation import Request
from tests.conftest import require
from tests.decoder.made import decoder

CONTEXT = 32
FULL = "ended by a full context: --positions 0 goes on, and forgets the oldest tokens\n"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("programs")

    def bundle(device: str) -> Path:
        out = folder / f"{device}.edge"
        model = decoder(vocabulary=60, tied=False)
        return out if out.exists() else compile_decoder(model, device, out, weights="f32")

    return bundle


@pytest.fixture(params=["generate.c", "generator.mjs"])
def run(request: pytest.FixtureRequest, made: Callable[[str], Path], tmp_path: Path) -> Run:
    """``run(tokens, "--max-tokens", "3")``."""
    if request.param == "generate.c":
        require("qemu-aarch64")
        emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
        bundle = made("rpi5")
        command = [str(emulator), str(bundle / "model"), "--weights", str(bundle / "weights.bin")]
    else:
        require("node")
        path = next(node._candidates())
        flags = node._relaxed_flags(node._version(path))
        command = [path, *flags, str(node.GENERATOR), "--bundle", str(made("browser"))]

    def call(tokens: Sequence[int], *options: str) -> subprocess.CompletedProcess[str]:
        np.array(tokens, np.int32).tofile(tmp_path / "in.bin")
        words = [*command, "--input", "in.bin", *options]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    return call


def _said(done: subprocess.CompletedProcess[str]) -> list[int]:
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def test_the_caches_are_not_exceeded_unless_told_to(run: Run, made: Callable[[str], Path]) -> None:
    with runtimes.open(made("host"), "local") as session:
        full = session.generate([5], Request(50))
        more = session.generate([5], Request(50, sliding=True))
    done = run([5], "--max-tokens", "50", "--stream")
    assert (_said(done), done.stderr) == (list(full.tokens), FULL)
    slid = run([5], "--max-tokens", "50", "--stream", "--positions", "0")
    assert (_said(slid), slid.stderr) == (list(more.tokens), "")
    few = run([5], "--max-tokens", "50", "--stream", "--positions", "10")
    assert (_said(few), few.stderr) == (list(full.tokens[:10]), FULL)
    ended = run([5], "--max-tokens", "50", "--json")
    assert '"stopped": "context"' in ended.stdout.replace('":"', '": "') and ended.stderr == ""


@pytest.mark.parametrize(
    ("tokens", "options", "said"),
    [
        (50, (), "the prompt has 50 tokens, the context is 32: shorten it, or let the oldest tokens be forgotten: "
                 "--positions 0"),
        (50, ("--positions", "20"), "the prompt has 50 tokens, the context is 32"),
        (25, ("--positions", "20"), "the prompt is longer than --positions"),
        (5, ("--positions", "33"), "--positions: 33 tokens, the context is 32"),
        (68, ("--score", "34"), "--score: windows of 34 tokens, the context is 32"),
        (5, ("--temperature", "1001"), "not a number in range: --temperature 1001"),
        (5, ("--temperature", "1e2"), "not a number in range: --temperature 1e2"),
        (5, ("--top-p", "1.5"), "not a number in range: --top-p 1.5"),
        (5, ("--top-p", "."), "not a number in range: --top-p ."),
        (5, ("--temperature", "0.123456789xyz"), "not a number in range: --temperature 0.123456789xyz"),
        (5, ("--temperature", "1" * 400), "not a number in range: --temperature 111"),
        (5, ("--top-p", "0.9999999999999e"), "not a number in range: --top-p 0.9999999999999e"),
        (5, ("--top-p", "1.0000000000001"), "not a number in range: --top-p 1.0000000000001"),
        (5, ("--max-tokens", "1.5"), "not a number in range: --max-tokens 1.5"),
        (5, ("--max-tokens", "1073741825"), "not a number in range: --max-tokens 1073741825"),
        (5, ("--seed", "2147483648"), "not a number in range: --seed 2147483648"),
        (5, ("--stop", "-1"), "not a number in range: --stop -1"),
        (5, ("--threads", "257"), "not a number in range: --threads 257"),
        (5, ("--what", "1"), "unknown option --what (see --help)"),
        (5, ("--seed",), "option --seed needs a value"),
    ],
)  # fmt: skip
def test_what_is_refused(run: Run, tokens: int, options: tuple[str, ...], said: str) -> None:
    done = run([3] * tokens, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("tokens", "options", "said"),
    [
        ([5, 7, -1], ("--score", "3"), "tokens are 0 to 59, number 3 of in.bin is -1: is it the right tokenizer?"),
        ([5, 7, 9, 1, 2, 60], ("--score", "3"), "tokens are 0 to 59, number 6 of in.bin is 60: is it"),
        ([-(2**31), 7], (), "tokens are 0 to 59, number 1 of in.bin is -2147483648: is it"),
        ([5, 2**31 - 1], (), "tokens are 0 to 59, number 2 of in.bin is 2147483647: is it"),
    ],
)
def test_tokens_that_there_are_not(run: Run, tokens: list[int], options: tuple[str, ...], said: str) -> None:
    done = run(tokens, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "word", "request_"),
    [
        ("--temperature", "00000000000005", Request(8, temperature=5)),
        ("--temperature", "3.14159265358979323846264338327950288", Request(8, temperature=3.141592653589793)),
        ("--temperature", "." + "0" * 400 + "1", Request(8)),
        ("--top-p", "0.0000000000001", Request(8, temperature=5, top_p=1e-13)),
        ("--top-p", "0." + "0" * 60 + "1", Request(8, temperature=5, top_p=1e-61)),
        ("--top-p", "0.69999999999999999999", Request(8, temperature=5, top_p=0.7)),
    ],
    ids=range(6),
)  # fmt: skip
def test_numbers_are_read_to_their_end(
    run: Run, made: Callable[[str], Path], option: str, word: str, request_: Request
) -> None:
    words = ["--max-tokens", "8", "--seed", "3", "--stream", option, word]
    if option == "--top-p":
        words += ["--temperature", "5"]
    with runtimes.open(made("host"), "local") as session:
        expected = session.generate([5], replace(request_, seed=3)).tokens
    assert _said(run([5], *words)) == list(expected)


def test_a_long_prompt_goes_on_where_told_to(run: Run) -> None:
    assert len(_said(run([3] * 50, "--positions", "0", "--max-tokens", "4", "--stream"))) == 4


def test_the_longest_windows_are_scored(run: Run) -> None:
    assert run([3] * 2 * (CONTEXT + 1), "--score", str(CONTEXT + 1)).returncode == 0
