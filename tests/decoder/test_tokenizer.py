"""Tokenizers: as their own packages and programs have it, through every file they travel in."""

from __future__ import annotations

import base64
import json
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesparse.decoder.bytepairs import read_bytepairs
from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.decoder.tokenizer import Tokenizer, load_tokenizer, read_tokenizer, set_tokenizer, tokenizer_of
from edgesparse.errors import InputError
from tests.decoder.made import decoder

TEXTS = (
    "", " ", "a", "def f(x):\n    return x + 1\n", "  two spaces", "naïve café — 東京 🙂", "tabs\tand\r\nends",
    "\x00\x7f", "the the the", "1234567890",
)  # fmt: skip
LINES = (
    "def read(self, path):",
    "    return self.path + path",
    "import os, sys",
    "the theatre of the other",
    "café 12",
)
CORPUS = LINES * 40


def byte_level(folder: Path) -> tuple[Path, Any]:
    """GPT-2's kind, as Llama 3 and Qwen have it."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|begin|>", "<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(CORPUS, trainer)
    made.add_tokens(["<tool>"])
    made.enable_truncation(4)  # of training; it must not cut prompts
    made.save(str(folder / "tokenizer.json"))
    made.no_truncation()
    return folder / "tokenizer.json", made


def sentence_level(folder: Path) -> tuple[Path, Any]:
    """SentencePiece's kind in a tokenizer.json, as Llama 2 and Gemma have it."""
    import tokenizers
    from tokenizers import decoders, models, normalizers

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁"]
    pieces += sorted({c for line in CORPUS for c in line if c != " "})
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("r", "e"), ("e", "t"), ("▁", "▁")]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, *("".join(m) for m in merges)])}
    made = tokenizers.Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json", made


@pytest.mark.parametrize("make", [byte_level, sentence_level])
def test_tokenizers(make: Callable[[Path], tuple[Path, Any]], tmp_path: Path, require: Callable[[str], None]) -> None:
    require("tokenizers")
    file, theirs = make(tmp_path)
    count = theirs.get_vocab_size()
    ours = read_tokenizer(file, count)
    for text in TEXTS:
        tokens = ours.encode(text)
        assert tokens == theirs.encode(text, add_special_tokens=False).ids
        assert ours.decode(tokens).decode() == theirs.decode(tokens) == text
        # as it streams: every token for itself
        assert b"".join(ours.decode([t], first=i == 0) for i, t in enumerate(tokens)).decode() == text
    begin = 0 if make is byte_level else 1
    assert ours.decode([begin, *ours.encode("a")]) == b"a"
    check_travels(ours, count)


def test_a_vocabulary_that_is_padded(tmp_path: Path, require: Callable[[str], None]) -> None:
    """A model may choose the tokens that pad it, and what it writes is what `tokenizers` makes of the others."""
    require("tokenizers")
    file, theirs = byte_level(tmp_path)
    known = theirs.get_vocab_size()
    ours = read_tokenizer(file, known + 20)
    tokens = ours.encode(TEXTS[1])
    assert tokens == theirs.encode(TEXTS[1], add_special_tokens=False).ids
    assert ours.decode([known, *tokens, known + 7, known + 19]).decode() == theirs.decode(tokens) == TEXTS[1]
    with pytest.raises(InputError, match=f"token {known + 20} in a vocabulary of {known + 20}"):
        ours.decode([known + 20])
    again = Tokenizer.from_bytes(ours.file_name, ours.to_bytes(), known + 20)
    assert again.pieces == ours.pieces and len(again.pieces) == known + 20


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_sentencepiece(kind: str, tmp_path: Path, require: Callable[[str], None]) -> None:
    require("sentencepiece")
    import sentencepiece

    (tmp_path / "corpus.txt").write_text("\n".join(CORPUS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"), model_prefix=str(tmp_path / "tokenizer"), vocab_size=320, model_type=kind,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    count = theirs.get_piece_size()
    ours = read_tokenizer(tmp_path / "tokenizer.model", count)
    for text in TEXTS:
        tokens = ours.encode(text)
        assert tokens == theirs.encode(text)
        assert ours.decode(tokens).decode() == theirs.decode(tokens)
        assert b"".join(ours.decode([t], first=i == 0) for i, t in enumerate(tokens)) == ours.decode(tokens)
    assert ours.decode([theirs.bos_id(), *ours.encode("a b"), theirs.eos_id()]) == b"a b"
    check_travels(ours, count)


def run_c(pieces: list[bytes], scores: list[float], text: bytes) -> list[int]:
    """``encode`` of run.c, line by line."""
    tokens = [pieces.index(b" ")] if text else []
    buffer = b""
    for i, byte in enumerate(text):
        if byte & 0xC0 != 0x80:
            buffer = b""
        buffer += bytes([byte])
        following = text[i + 1] if i + 1 < len(text) else 0
        if following & 0xC0 == 0x80 and len(buffer) < 4:
            continue
        if buffer in pieces:
            tokens.append(pieces.index(buffer))
        else:
            tokens += [b + 3 for b in buffer]
        buffer = b""
    while True:
        best, best_score, best_at = -1, -1e10, -1
        for i in range(len(tokens) - 1):
            joined = pieces[tokens[i]] + pieces[tokens[i + 1]]
            if joined in pieces and scores[pieces.index(joined)] > best_score:
                best, best_score, best_at = pieces.index(joined), scores[pieces.index(joined)], i
        if best_at < 0:
            return tokens
        tokens[best_at : best_at + 2] = [best]


def test_llama2c(data_dir: Path) -> None:
    file = data_dir / "aidreams260k" / "tok512.bin"
    ours, pairs = read_tokenizer(file, 512), read_bytepairs(file.read_bytes(), "tok512.bin")
    noise = "".join(np.random.default_rng(3).choice(list("theingabou rs, é"), 200))
    for text in (*TEXTS, noise, "ing" * 20, "Echoes of vectors unfold, a gentle hum of precision."):
        tokens = ours.encode(text)
        assert tokens == run_c(list(pairs.pieces), list(pairs.scores), text.encode())
        assert ours.decode(tokens).decode() == text
    assert ours.encode(b"\xff\x80a") == run_c(list(pairs.pieces), list(pairs.scores), b"\xff\x80a")
    assert ours.decode([1, *ours.encode("hum")]) == b"hum"
    assert ours.decode(ours.encode("hum"), first=False) == b" hum"
    check_travels(ours, 512)


def test_bytes() -> None:
    ours = Tokenizer.from_bytes("", b"", 256)
    for text in (*(t.encode() for t in TEXTS), bytes(range(256))):
        assert ours.encode(text) == list(text)
        assert ours.decode(list(text)) == text
    assert ours.encode("\udcff") == [255], "what is no UTF-8 on a command line"
    with pytest.raises(InputError, match="token 256 in a vocabulary of 256"):
        ours.decode([256])


def check_travels(tokenizer: Tokenizer, vocabulary: int) -> None:
    """In the metadata of a model, and as a file of a bundle; not for another vocabulary."""
    again = Tokenizer.from_bytes(tokenizer.file_name, tokenizer.to_bytes(), vocabulary)
    model = to_onnx(decoder(vocabulary=vocabulary))
    set_tokenizer(model, tokenizer)
    third = tokenizer_of(model, vocabulary)
    assert third is not None
    for found in (again, third):
        assert found.pieces == tokenizer.pieces and found.encode("the end") == tokenizer.encode("the end")
    for other in (vocabulary - 1, 2 * vocabulary):
        with pytest.raises(InputError, match=f"{len(tokenizer.pieces)} tokens, where the model has {other}"):
            tokenizer_of(model, other)


def vocabulary(count: int) -> bytes:
    pieces = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % i for i in range(256))]
    pieces += [b"piece %d" % i for i in range(count - len(pieces))]
    return struct.pack("<i", 9) + b"".join(struct.pack("<fi", 0, len(p)) + p for p in pieces)


def test_what_lies_beside_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "tokens.bin"  # itself no tokenizer, whatever it is called
    checkpoint.write_bytes(b"")
    assert load_tokenizer(checkpoint, 256).file_name == ""
    with pytest.raises(InputError, match="no tokenizer beside it, and its tokens are not bytes") as error:
        load_tokenizer(checkpoint, 300)
    assert "--tokenizer" in error.value.hint
    (tmp_path / "tok400.bin").write_bytes(vocabulary(400))
    with pytest.raises(InputError, match="400 tokens, where the model has 300"):
        load_tokenizer(checkpoint, 300)
    (tmp_path / "tokenizer.bin").write_bytes(vocabulary(300))
    assert len(load_tokenizer(checkpoint, 300).pieces) == 300
    assert len(load_tokenizer(tmp_path, 300).pieces) == 300
    for file in (tmp_path, tmp_path / "none.bin", tmp_path / "cut.bin"):
        (tmp_path / "cut.bin").write_bytes(vocabulary(300)[:-1])
        with pytest.raises(InputError) as error:
            read_tokenizer(file, 300)
        assert error.value.where == str(file) and error.value.hint


BAD: dict[str, tuple[str, bytes, str]] = {
    "json of something else": ("tokenizer.json", b"{}", "not a tokenizer.json"),
    "no json": ("tokenizer.json", b"\xff", "not a tokenizer.json"),
    "no model": ("tokenizer.model", b"nothing of that kind", "not a model of SentencePiece"),
    "an empty model": ("tokenizer.model", b"", "not a model of SentencePiece"),
    "cut": ("tokenizer.bin", vocabulary(300)[:-300], "token|single bytes|cut short"),
    "cut in a score": ("tokenizer.bin", vocabulary(300) + b"1234", "cut short"),
    "a length below nothing": ("tokenizer.bin", vocabulary(300) + struct.pack("<fi", 0, -5), "token 300 of -5 bytes"),
    "a length beyond the end": ("tokenizer.bin", vocabulary(300) + struct.pack("<fi", 0, 2**31 - 1), "no tokenizer of"),
    "a score that is none": ("tokenizer.bin", vocabulary(300) + struct.pack("<fi", np.nan, 0), "no tokenizer of"),
    "too few": ("tokenizer.bin", struct.pack("<i", 9), "tokens 3 to 258 are not the single bytes"),
    "another name": ("../../etc/passwd", b"", "no tokenizer is called"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_damaged(name: str, require: Callable[[str], None]) -> None:
    require("tokenizers")
    require("sentencepiece")
    file, data, what = BAD[name]
    with pytest.raises(InputError, match=what):
        Tokenizer.from_bytes(file, data, 300)


def test_pieces_that_are_joined_in_another_way(tmp_path: Path, require: Callable[[str], None]) -> None:
    require("tokenizers")
    import tokenizers
    from tokenizers import decoders, models

    made = tokenizers.Tokenizer(models.WordPiece({"a": 0, "##b": 1}, unk_token="a"))
    made.decoder = decoders.WordPiece()
    with pytest.raises(InputError, match="tokens are joined by WordPiece, which is not known"):
        Tokenizer.from_bytes("tokenizer.json", made.to_str().encode(), 2)


@pytest.mark.parametrize(
    "text",
    [
        "x", "[]", "{}", '{"file": 3, "data": ""}', '{"file": "tokenizer.bin", "data": "!"}',
        json.dumps({"file": "tokenizer.bin", "data": base64.b64encode(zlib.compress(b"x" * 999)[:-5]).decode()}),
    ],
)  # fmt: skip
def test_damaged_metadata(text: str) -> None:
    model = to_onnx(decoder())
    model.metadata_props["edgesparse.tokenizer"] = text
    with pytest.raises(InputError, match="damaged metadata"):
        tokenizer_of(model, 70)


@pytest.mark.parametrize(("package", "file"), [("tokenizers", "tokenizer.json"), ("sentencepiece", "tokenizer.model")])
def test_without_the_packages(monkeypatch: pytest.MonkeyPatch, package: str, file: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"{package} is not installed") as error:
        Tokenizer.from_bytes(file, b"", 10)
    assert f"pip install {package}" in error.value.hint
