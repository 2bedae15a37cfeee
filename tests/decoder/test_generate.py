"""Texts that bundles write, on every runtime: the same as onnxruntime's, the same by the same seed; when they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesparse import runtimes
from edgesparse.decoder.checkpoint import load_checkpoint
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.model import InputRule
from edgesparse.decoder.perplexity import score, windows_of
from edgesparse.decoder.reference import logits
from edgesparse.decoder.store import Form
from edgesparse.decoder.texts import continue_text, foretell, tokenizer_in
from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.decoder.tokenizer import Tokenizer, load_tokenizer
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.runtimes.generation import Request
from edgesparse.runtimes.session import Session
from edgesparse.types import Array
from tests.decoder.made import decoder, tokens, with_rules
from tests.decoder.onnx_session import OnnxSession
from tests.decoder.prompts import AIDREAMS, NEW, PROMPTS

PLACES = {"local": "host", "qemu": "rpi5", "wasmtime": "browser", "node": "browser"}
NEEDS = {"qemu": "qemu-aarch64", "wasmtime": "wasmtime", "node": "node"}
Bundles = Callable[[str], Path]


def _needed(runtime: str, require: Callable[[str], None]) -> None:
    if runtime in NEEDS:
        require(NEEDS[runtime])


@pytest.mark.parametrize("runtime", PLACES)
@pytest.mark.parametrize("checkpoint", PROMPTS)
def test_five_texts_are_those_of_onnxruntime(
    checkpoint: str, runtime: str, data_dir: Path, tmp_path: Path, require: Callable[[str], None]
) -> None:
    _needed(runtime, require)
    path = data_dir / checkpoint
    trained = load_checkpoint(path)
    tokenizer = load_tokenizer(path, trained.vocabulary)
    bundle = compile_decoder(trained, PLACES[runtime], tmp_path / "lm.edge", weights="f32")
    onnx = OnnxSession(to_onnx(trained))
    with runtimes.open(bundle, runtime) as session:
        for text in PROMPTS[checkpoint]:
            prompt = [trained.bos, *tokenizer.encode(text)]
            assert list(session.generate(prompt, Request(NEW)).tokens) == onnx.greedy(prompt, NEW)


def test_the_dreamer_says_what_its_own_program_says(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "aidreams260k" / "aidreams260K.bin"
    trained = load_checkpoint(path)
    stored = load_tokenizer(path, trained.vocabulary)
    bundle = compile_decoder(
        trained, "host", tmp_path / "lm.edge", weights="f32", tokenizer=(stored.file_name, stored.to_bytes())
    )
    pieces: list[str] = []
    with runtimes.open(bundle) as session:
        tokenizer = tokenizer_in(bundle, session.manifest)
        text, found = continue_text(session, tokenizer, "", Request(80), pieces.append)
    assert text.startswith(AIDREAMS)
    assert "".join(pieces) == text and len(pieces) > 40
    assert found.cost.decoded == 79 and found.cost.tokens_per_s > 0


@pytest.mark.parametrize(("weights", "share"), [("f32", 0.001), ("int8", 0.01)])
def test_bits_per_byte_are_those_of_the_reference(weights: Form, share: float, data_dir: Path, tmp_path: Path) -> None:
    """The first 12 windows; all 96 give 1.9292, as PyTorch."""
    trained = load_checkpoint(data_dir / "pylm")
    text = (data_dir / "pylm" / "valid.txt").read_bytes()
    bundle = compile_decoder(trained, "host", tmp_path / "lm.edge", weights=weights)
    with runtimes.open(bundle) as session:
        found = foretell(session, tokenizer_in(bundle, session.manifest), text, window=256, limit=12)
    expected = score(trained, windows_of(np.frombuffer(text, np.uint8).astype(np.int64), 256)[:12])
    assert (found.tokens, found.text_bytes, found.windows) == (12 * 255, 12 * 255, 12)
    assert abs(found.bits_per_byte / expected.bits - 1) < share


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """``made(device)``: a small decoder with rules, which stops at token 3."""
    folder = tmp_path_factory.mktemp("made")
    rule = InputRule("teal", 0.5, np.array([0.4], np.float32))
    model = with_rules(decoder(vocabulary=60, tied=False, stops=(3,), bos=1), lambda site, inputs: rule)

    def bundle(device: str) -> Path:
        out = folder / f"{device}.edge"
        return out if out.exists() else compile_decoder(model, device, out, weights="f32")

    return bundle


@pytest.fixture(params=PLACES)
def opened(request: pytest.FixtureRequest, made: Bundles, require: Callable[[str], None]) -> Iterator[Session]:
    _needed(request.param, require)
    with runtimes.open(made(PLACES[request.param]), request.param) as session:
        yield session


def test_the_same_seed_gives_the_same_text_everywhere(opened: Session, made: Bundles) -> None:
    request = Request(20, temperature=4, top_p=0.9, seed=11)
    with runtimes.open(made("host"), "local") as local:
        expected = local.generate([1, 7], request)
        other = local.generate([1, 7], Request(20, temperature=4, top_p=0.9, seed=12))
    found = opened.generate([1, 7], request)
    assert found.tokens == expected.tokens != other.tokens
    assert found.cost.active == pytest.approx(expected.cost.active)
    assert found.cost.decoded == expected.cost.decoded == 19 and found.prompt_tokens == 2


def test_losses_are_those_of_the_reference(opened: Session) -> None:
    rule = InputRule("teal", 0.5, np.array([0.4], np.float32))
    model = with_rules(decoder(vocabulary=60, tied=False), lambda site, inputs: rule)
    windows = np.stack([tokens(model, 9, seed) for seed in (1, 2)])
    for dense, reference in ((False, model), (True, decoder(vocabulary=60, tied=False))):
        found, cost = opened.score(windows, dense=dense)
        expected = [_losses(logits(reference, w[None])[0], w) for w in windows]
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-4)
        assert cost.decoded == 16


def _losses(found: Array, window: Array) -> Array:
    scores = found[:-1].astype(np.float64)
    all_of_them = np.log(np.exp(scores - scores.max(-1, keepdims=True)).sum(-1)) + scores.max(-1)
    loss: Array = all_of_them - scores[np.arange(len(window) - 1), window[1:]]
    return loss


def test_when_a_text_ends(opened: Session) -> None:
    text = opened.generate([5], Request(12))
    assert (len(text.tokens), text.stopped) == (12, "length")
    seen: list[int] = []
    shorter = opened.generate([5], Request(12, stops=(text.tokens[4],)), seen.append)
    until = text.tokens.index(text.tokens[4])
    assert (shorter.tokens, shorter.stopped) == (text.tokens[:until], "stop")
    assert tuple(seen) == shorter.tokens
    full = opened.generate([5], Request(50))  # 32 positions, of which the prompt takes one
    assert (len(full.tokens), full.stopped) == (32, "context")
    more = opened.generate([5], Request(50, sliding=True))
    assert (len(more.tokens), more.stopped) == (50, "length")
    assert more.tokens[:32] == full.tokens


@pytest.mark.cpus(2)
@pytest.mark.parametrize("runtime", ["local", "qemu", "node"])
def test_two_threads_write_the_same(runtime: str, made: Bundles, require: Callable[[str], None]) -> None:
    _needed(runtime, require)
    texts = []
    for threads in (1, 2):
        with runtimes.open(made(PLACES[runtime]), runtime, threads=threads) as session:
            texts.append(session.generate(list(range(2, 12)), Request(15, temperature=3, seed=3)).tokens)
    assert texts[0] == texts[1]


def test_attached_devices_generate(attached: Any, made: Bundles) -> None:
    bundle = made("rpi5")
    with runtimes.open(bundle, "qemu") as session:
        expected = session.generate([1, 7], Request(8))
        losses, _ = session.score(np.array([[1, 7, 9, 4]]))
    seen: list[int] = []
    with runtimes.open(bundle, attached.runtime) as session:
        found = session.generate([1, 7], Request(8), seen.append)
        again, _ = session.score(np.array([[1, 7, 9, 4]]))
    assert found.tokens == expected.tokens == tuple(seen)
    np.testing.assert_array_equal(losses, again)


def test_chance_follows_the_probabilities(made: Bundles) -> None:
    """400 seeds of one step against softmax(logits / T): chi-square over tokens that are expected 8 times or more."""
    temperature, prompt = 4.0, [1, 7, 30]
    model = decoder(vocabulary=60, tied=False)
    scores = logits(model, np.array([prompt]))[0, -1].astype(np.float64) / temperature
    chances = np.exp(scores - scores.max())
    chances /= chances.sum()
    with runtimes.open(made("host"), "local") as session:
        drawn = [session.generate(prompt, Request(1, temperature, seed=s)).tokens[0] for s in range(400)]
        nucleus = [session.generate(prompt, Request(1, temperature, 0.5, seed=s)).tokens[0] for s in range(100)]
    counts, often = np.bincount(drawn, minlength=60), 400 * chances >= 8
    squares = ((counts - 400 * chances)[often] ** 2 / (400 * chances)[often]).sum()
    assert squares < 2.5 * often.sum()
    order = np.argsort(-chances)
    kept = order[: int(np.searchsorted(np.cumsum(chances[order]), 0.5)) + 1]
    assert set(nucleus) <= set(kept.tolist()) and len(set(nucleus)) > 1


def _refused(session: Session, prompt: Sequence[int], request: Request) -> str:
    with pytest.raises(InputError) as caught:
        session.generate(prompt, request)
    return str(caught.value)


def test_what_cannot_be_generated(made: Bundles) -> None:
    with runtimes.open(made("host"), "local") as session:
        assert "prompt is empty" in _refused(session, [], Request())
        assert "33 tokens, the context is 32" in _refused(session, [5] * 33, Request())
        assert "tokens are 0 to 59" in _refused(session, [60], Request())
        assert "--temperature" in _refused(session, [5], Request(temperature=-0.1))
        assert "--top-p" in _refused(session, [5], Request(top_p=0))
        assert "--top-p" in _refused(session, [5], Request(top_p=1.01))
        assert "--max-tokens" in _refused(session, [5], Request(max_tokens=0))
        assert "--seed" in _refused(session, [5], Request(seed=-1))
        with pytest.raises(InputError, match="is a language model"):
            session.bench({"tokens": np.zeros(37, np.int32), "sampling": np.zeros(2, np.float32)})
        with pytest.raises(InputError, match="windows"):
            session.score(np.zeros((1, 34), np.int64))
        with pytest.raises(InputError, match="no tokenizer"):
            tokenizer_in(made("host"), session.manifest)


def test_a_long_prompt_goes_on_where_the_oldest_are_forgotten(opened: Session) -> None:
    prompt = tokens(decoder(vocabulary=60, tied=False), 50).tolist()
    found = opened.generate(prompt, Request(4, sliding=True))
    assert len(found.tokens) == 4 and found.prompt_tokens == 50


def test_windows_that_overlap(tmp_path: Path) -> None:
    """Of each window but the first only what is new counts."""
    model = decoder(vocabulary=256)
    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights="f32")
    text = bytes(tokens(model, 40).tolist())
    with runtimes.open(bundle) as session:
        tokenizer = Tokenizer.from_bytes("", b"", 256)
        found = foretell(session, tokenizer, text, window=16, stride=6)
        with pytest.raises(InputError, match="20 tokens, a window 33"):
            foretell(session, tokenizer, text[:20], window=33)
        with pytest.raises(InputError, match="windows of 1 tokens"):
            foretell(session, tokenizer, text, window=1)
        with pytest.raises(InputError, match="a stride of 17"):
            foretell(session, tokenizer, text, window=16, stride=17)
    data = np.frombuffer(text, np.uint8)
    each = [_losses(logits(model, data[None, i : i + 16])[0], data[i : i + 16]) for i in range(0, 25, 6)]
    expected = np.concatenate([each[0], *(losses[-6:] for losses in each[1:])])
    assert (found.windows, found.tokens) == (5, expected.size)
    assert found.nats == pytest.approx(expected.mean(), rel=1e-4)


def test_a_bundle_whose_weights_are_damaged(made: Bundles, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(made("host"), tmp_path / "copy.edge")
    weights = bytearray((copy / "weights.bin").read_bytes())
    weights[100] ^= 1
    (copy / "weights.bin").write_bytes(weights)
    with pytest.raises(RuntimeFailure, match=r"weights\.bin is damaged"):
        runtimes.open(copy)
    (copy / "weights.bin").write_bytes(weights[:-64])
    with pytest.raises(RuntimeFailure, match=r"weights\.bin"):
        runtimes.open(copy)
