"""Tokenizers in JavaScript against tokenizer.py, which asks the packages that they come from."""

from __future__ import annotations

import json
import random
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Trained

from edgesparse.decoder.tokenizer import Tokenizer
from edgesparse.runtimes import node as node_runtime
from tests.conftest import PROJECT, require

WEB = PROJECT / "runtimes" / "web"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)  # fmt: skip
QWEN2 = LLAMA3.replace("{1,3}", "")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIALS = ["<unk>", "<s>", "</s>"]
TEXTS = (
    "", " ", "a", " a", "  a  b", "a ", "Hello, world!", "def read_file(path):\n    return open(path).read()\n",
    "it's WE'LL I'Ve they'D 'S 'ſ 'K", "1 12 123 1234 12345 ٣٤٥ ½²", "tabs\t\tand\r\nlines\n\n\n  end  ", "é é ﬁ Å Å",
    "naïve façade – “quotes” …", "日本語のテキスト。", "안녕하세요 세계", "🙂👩‍👩‍👧‍👦🇩🇪",
    "a\u0085b\ufeffc\u00a0d\u2028e\u3000f",
    "<s>begin</s> <s> </s><unk>", "▁x ▁▁y", "<0x41> <0x0A>", "\x00\x01\x7f", "x" * 300, " " * 100, "ab" * 200,
)  # fmt: skip


def _bpe(**more: Any) -> Trained:
    return Trained(models.BPE(**more))


def _byte_level(regex: str | None, normalizer: Any = None) -> Trained:
    found = _bpe(ignore_merges=regex == LLAMA3)
    if normalizer:
        found.normalizer = normalizer
    split = pre_tokenizers.Split(Regex(regex), "isolated") if regex else None
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    found.pre_tokenizer = pre_tokenizers.Sequence([split, last]) if split else last
    found.decoder = decoders.ByteLevel()
    return found


def _sentencepiece(name: str) -> Trained:
    """Characters, and bytes for those that are unknown: as Llama, Mistral and Gemma have it."""
    found = _bpe(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    last = [decoders.ByteFallback(), decoders.Fuse()]
    if name == "llama":
        found.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        found.decoder = decoders.Sequence([decoders.Replace("▁", " "), *last, decoders.Strip(" ", 1, 0)])
    elif name == "mistral":
        found.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", split=False)
        found.decoder = decoders.Sequence([decoders.Replace("▁", " "), *last, decoders.Strip(" ", 1, 0)])
    elif name == "metaspace":
        found.pre_tokenizer = pre_tokenizers.Metaspace()
        found.decoder = decoders.Metaspace()
    else:
        found.normalizer = normalizers.Replace(" ", "▁")
        found.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        found.decoder = decoders.Sequence([decoders.Replace("▁", " "), *last])
    return found


def _kinds() -> dict[str, Trained]:
    return {
        "gpt2": _byte_level(None), "llama3": _byte_level(LLAMA3), "qwen2": _byte_level(QWEN2, normalizers.NFC()),
        "tekken": _byte_level(TEKKEN),
        **{name: _sentencepiece(name) for name in ("llama", "mistral", "metaspace", "gemma")},
    }  # fmt: skip


def _trained(name: str) -> bytes:
    found = _kinds()[name]
    byte_level = name in ("gpt2", "llama3", "qwen2", "tekken")
    specials = SPECIALS + ([] if byte_level else [f"<0x{i:02X}>" for i in range(256)])
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=specials, show_progress=False, limit_alphabet=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if byte_level else [],
    )  # fmt: skip
    lines = (PROJECT / "README.md").read_text().splitlines() + (PROJECT / "CONTRIBUTING.md").read_text().splitlines()
    found.train_from_iterator([*lines, *TEXTS[6:9]], trainer)
    document = json.loads(found.to_str())
    if not byte_level:  # bytes are tokens of the vocabulary, not added ones
        document["added_tokens"] = [t for t in document["added_tokens"] if t["content"] in SPECIALS]
    again = Trained.from_str(json.dumps(document))
    again.add_tokens([AddedToken("<extra one>", normalized=True), AddedToken("<extra", normalized=False)])
    return again.to_str().encode()


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Of words, spaces, all kinds of characters and pieces of special tokens."""
    rng = random.Random(seed)
    ranges = [(0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x530), (0x600, 0x700), (0x1E00, 0x2100),
              (0x3000, 0x3100), (0xAC00, 0xAC80), (0x1F600, 0x1F650), (0x0, 0x20)]  # fmt: skip
    words = [
        "the",
        "edge",
        "sparse",
        "'s",
        "'LL",
        "  ",
        "\n",
        "\r\n",
        "<s>",
        "</s>",
        "<extra",
        " one>",
        "123",
        "<0x41>",
    ]

    def some() -> str:
        if rng.random() < 0.5:
            return rng.choice(words)
        low, high = rng.choice(ranges)
        return chr(rng.randrange(low, high)) * rng.choice([1, 1, 1, 2, 5])

    return ["".join(some() for _ in range(rng.randrange(30))) for _ in range(count)]


def in_javascript(name: str, data: bytes, vocabulary: int, texts: Sequence[str | bytes], folder: Path) -> Any:
    """{tokens of each text, bytes of each token, how each text is decoded}, or what was thrown."""
    require("node")
    encoded = [list(t.encode("utf-8", "surrogateescape") if isinstance(t, str) else t) for t in texts]
    (folder / "texts.json").write_text(json.dumps(encoded))
    (folder / "tokenizer").write_bytes(data)
    body = f"""
import fs from "node:fs";
import {{ tokenizerOf }} from {json.dumps((WEB / "tokenizer.mjs").as_uri())};
const texts = JSON.parse(fs.readFileSync("texts.json")).map((bytes) => Uint8Array.from(bytes));
try {{
  const facts = {{ tokenizer: {json.dumps(name)}, vocabulary: {vocabulary} }};
  const found = tokenizerOf(facts, fs.readFileSync("tokenizer"));
  const tokens = texts.map((text) => found.encode(text));
  const pieces = Array.from({{ length: found.count }}, (_, i) => Array.from(found.piece(i)));
  console.log(JSON.stringify({{ tokens, pieces, decoded: tokens.map((t) => found.decode(t)) }}));
}} catch (error) {{
  console.log(JSON.stringify({{ name: error.name, code: error.code, message: error.message }}));
}}"""
    command = [next(node_runtime._candidates()), "--input-type=module", "-e", body]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def compare(name: str, data: bytes, vocabulary: int, texts: Sequence[str | bytes], folder: Path) -> None:
    expected = Tokenizer.from_bytes(name, data, vocabulary)
    found = in_javascript(name, data, vocabulary, texts, folder)
    assert "tokens" in found, found
    assert found["pieces"] == [list(piece) for piece in expected.pieces]
    for text, tokens, decoded in zip(texts, found["tokens"], found["decoded"], strict=True):
        wanted = expected.encode(text)
        assert tokens == wanted, text
        assert decoded == expected.decode(wanted).decode("utf-8", "replace"), text


@pytest.mark.parametrize("name", _kinds())
def test_tokenizer_json(name: str, tmp_path: Path) -> None:
    data = _trained(name)
    texts = [*TEXTS, *random_texts(400), (PROJECT / "README.md").read_text()]
    size = Trained.from_str(data.decode()).get_vocab_size()
    compare("tokenizer.json", data, size, texts, tmp_path)


def test_a_vocabulary_that_is_padded(tmp_path: Path) -> None:
    data = _trained("llama3")
    size = Trained.from_str(data.decode()).get_vocab_size()
    compare("tokenizer.json", data, size + 20, TEXTS, tmp_path)
    found = in_javascript("tokenizer.json", data, size + 20, [], tmp_path)
    assert found["pieces"][size:] == [[]] * 20


def test_bytes(tmp_path: Path) -> None:
    compare("", b"", 256, [*TEXTS, bytes(range(256)), *random_texts(20)], tmp_path)


def tokenizer_bin() -> bytes:
    """A vocabulary of llama2.c: bytes, characters, and words that merge by their scores, two of them alike."""
    characters = sorted(set("the edge sparse é日"))
    words = ["th", "the", " the", "ed", "ge", "edge", " ed", " edge", "sp", "ar", "se", "spar", "sparse", "he"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *characters, *words]
    scores = [0.0] * (len(pieces) - len(words)) + [-float(i // 2) for i in range(len(words))]
    found = struct.pack("<i", 8)
    for piece, score in zip(pieces, scores, strict=True):
        found += struct.pack("<fi", score, len(piece.encode())) + piece.encode()
    return found


def test_tokenizer_bin(tmp_path: Path) -> None:
    data = tokenizer_bin()
    count = len(Tokenizer.from_bytes("tokenizer.bin", data, 285).pieces)
    texts: list[str | bytes] = ["the edge the sparse thedge", bytes(range(256)), b"\x80\x80\xf0\x9f\x99"]
    texts += [*TEXTS, *random_texts(200)]
    compare("tokenizer.bin", data, count, texts, tmp_path)


def test_real_tokenizer_bin(tmp_path: Path, data_dir: Path) -> None:
    data = (data_dir / "aidreams260k" / "tok512.bin").read_bytes()
    compare("tokenizer.bin", data, 512, [*TEXTS, *random_texts(100), (PROJECT / "README.md").read_text()], tmp_path)


def _changed(**changes: Any) -> bytes:
    document = json.loads(_trained("llama"))
    document.update(changes)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (lambda: _changed(normalizer={"type": "Lowercase"}), "tokenizer", "a normalizer Lowercase"),
        (lambda: _changed(pre_tokenizer={"type": "BertPreTokenizer"}), "tokenizer", "a pre-tokenizer BertPreTokenizer"),
        (lambda: _changed(model={"type": "WordPiece", "vocab": {}}), "tokenizer", "a model WordPiece"),
        (lambda: _changed(decoder={"type": "WordPiece"}), "tokenizer", "a decoder WordPiece"),
        (lambda: _changed(decoder=None), "tokenizer", "a decoder of nothing"),
        (
            lambda: _changed(pre_tokenizer={"type": "Split", "pattern": {"Regex": r"\w+"}, "behavior": "Isolated"}),
            "tokenizer", r"the regular expression \w+ with \w",
        ),
        (
            lambda: _changed(pre_tokenizer={"type": "Split", "pattern": {"Regex": r"\s++"}, "behavior": "Isolated"}),
            "tokenizer", "a possessive quantifier",
        ),
        (lambda: b"{", "damaged", "tokenizer.json is damaged"),
        (lambda: _trained("llama")[:-100], "damaged", "tokenizer.json is damaged"),
        (lambda: b"[]", "tokenizer", "a model without merges"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(data: Any, code: str, words: str, tmp_path: Path) -> None:
    found = in_javascript("tokenizer.json", data(), 1000, [], tmp_path)
    assert found["name"] == "LoadError" and found["code"] == code and words in found["message"], found


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    data = tokenizer_bin()
    for name, content, vocabulary, code in (
        ("tokenizer.bin", data, 512, "tokenizer"), ("tokenizer.bin", data[:-3], 285, "damaged"),
        ("tokenizer.bin", data[:100], 285, "damaged"), ("", b"", 300, "tokenizer"),
        ("tokenizer.model", b"", 300, "tokenizer"), ("tokenizer.json", _trained("llama"), 300, "tokenizer"),
    ):  # fmt: skip
        found = in_javascript(name, content, vocabulary, [], tmp_path)
        assert found.get("code") == code, (name, vocabulary, found)
