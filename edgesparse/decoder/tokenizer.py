"""Text to tokens and back, by whatever tokenizer comes with a checkpoint.

Four kinds, told apart by the name of their file: ``tokenizer.json`` (the package ``tokenizers``), ``tokenizer.model``
(``sentencepiece``), ``tokenizer.bin`` (llama2.c), and none: a token for each byte.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgesparse.decoder.bytepairs import read_bytepairs
from edgesparse.errors import InputError

TOKENIZER = "edgesparse.tokenizer"
BYTES = 256
FILES = ("tokenizer.json", "tokenizer.model", "tokenizer.bin")
_LARGEST_BYTES = 256 << 20
_SPACE = "\u2581"  # what stands for a space in SentencePiece's tokens
_KINDS = "give the tokenizer.json, tokenizer.model or llama2.c's tok*.bin that came with the checkpoint"
_MATCH = "the tokenizer and the weights are of different models"


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """``pieces[token]`` is what a token writes, so that text can be written as tokens come; special ones write nothing.

    Nor do those that pad the vocabulary of a model to a round number. They may be drawn like any other: a model gives
    them a probability, and to leave them out would make texts follow others than those that are scored.

    ``drops_space``: the space that begins a text is not a part of it. ``file_name`` and ``data``: the file that it is,
    one of `FILES`; an empty name where tokens are bytes.
    """

    file_name: str
    data: bytes = field(repr=False)
    pieces: tuple[bytes, ...] = field(repr=False)
    drops_space: bool
    tokens_of: Callable[[bytes], list[int]] = field(repr=False)

    def encode(self, text: str | bytes) -> list[int]:
        """The tokens of ``text``, without any that begin or end one; none for an empty text."""
        return self.tokens_of(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)

    def decode(self, tokens: Sequence[int], *, first: bool = True) -> bytes:
        """What ``tokens`` write; ``first``: at the beginning of a text, and not behind others.

        Raises:
            InputError: a token that the vocabulary does not have.
        """
        wrong = [t for t in tokens if not 0 <= t < len(self.pieces)]
        if wrong:
            raise InputError(f"token {wrong[0]} in a vocabulary of {len(self.pieces)}", hint=_MATCH)
        text = b"".join(self.pieces[t] for t in tokens)
        return text[1:] if first and self.drops_space and text.startswith(b" ") else text

    def to_bytes(self) -> bytes:
        """The content of the file ``file_name``; `from_bytes` makes the same of it."""
        return self.data

    @staticmethod
    def from_bytes(file_name: str, data: bytes, vocabulary: int) -> Tokenizer:
        """The tokenizer in the content of a file that is named like one of `FILES`, for that many tokens.

        Raises:
            InputError: damaged, of a kind that is not known, or with another number of tokens than the model.
        """
        kinds = dict(zip(("", *FILES), (_bytes, _huggingface, _sentencepiece, _llama2c), strict=True))
        if file_name not in kinds:
            raise InputError(f"no tokenizer is called '{file_name[:80]}'", hint=f"they are: {', '.join(FILES)}")
        found = kinds[file_name](data)
        count, exact = len(found.pieces), file_name in ("", "tokenizer.bin")
        # a vocabulary may be padded to a round number that divides well
        if count != vocabulary if exact else not count <= vocabulary <= count + count // 16 + 64:
            what = f"{count} tokens, where the model has {vocabulary}"
            raise InputError(what, where=file_name or "bytes", hint=_MATCH)
        return replace(found, pieces=(*found.pieces, *[b""] * (vocabulary - count)))


def load_tokenizer(checkpoint: str | Path, vocabulary: int) -> Tokenizer:
    """The tokenizer beside a llama2.c file (``tokenizer.bin`` or ``tok*.bin``) or in a folder of Hugging Face.

    Raises:
        InputError: none, with a vocabulary that is not 256; damaged; or for another vocabulary.
    """
    path = Path(checkpoint)
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        beside = [folder / name for name in FILES if (folder / name).is_file()][:1]
    else:
        beside = [p for p in sorted(folder.glob("tok*.bin")) if p.is_file() and p.name != path.name]
    refused: InputError | None = None
    for file in beside:
        try:
            return read_tokenizer(file, vocabulary)
        except InputError as error:
            refused = refused or error
    if refused is not None:
        raise refused
    if vocabulary == BYTES:
        return Tokenizer.from_bytes("", b"", vocabulary)
    raise InputError(
        "no tokenizer beside it, and its tokens are not bytes", where=str(path),
        hint=f"--tokenizer FILE; it is called {', '.join(FILES)} or tok*.bin",
    )  # fmt: skip


def read_tokenizer(file: Path, vocabulary: int) -> Tokenizer:
    """The tokenizer in ``file``, whose suffix tells its kind. Raises InputError as `Tokenizer.from_bytes`."""
    if not file.is_file() or file.stat().st_size > _LARGEST_BYTES:
        what = "no such file" if not file.exists() else "not a tokenizer"
        raise InputError(what, where=str(file), hint=_KINDS)
    kind = f"tokenizer{file.suffix}"
    try:
        return Tokenizer.from_bytes(kind if kind in FILES else file.name, file.read_bytes(), vocabulary)
    except InputError as error:
        raise InputError(error.what, where=str(file), hint=error.hint or _KINDS) from error


def named(file_name: str, vocabulary: int) -> str:
    """For tables: the file that the tokenizer is; "bytes", which need none; or "none"."""
    return file_name or ("bytes" if vocabulary == BYTES else "none")


def set_tokenizer(model: ir.Model, tokenizer: Tokenizer) -> None:
    """Write it into the metadata of an ONNX model, so that one file is enough."""
    packed = base64.b64encode(zlib.compress(tokenizer.to_bytes(), 9)).decode()
    model.metadata_props[TOKENIZER] = json.dumps({"file": tokenizer.file_name, "data": packed})


def tokenizer_of(model: ir.Model, vocabulary: int) -> Tokenizer | None:
    """The tokenizer in the metadata of ``model``; bytes where there is none and the vocabulary is 256; or None.

    Raises:
        InputError: the metadata are damaged, or the tokenizer is for another vocabulary.
    """
    text = model.metadata_props.get(TOKENIZER)
    if text is None:
        return Tokenizer.from_bytes("", b"", vocabulary) if vocabulary == BYTES else None
    try:
        stored = json.loads(text)
        name, packed = stored["file"], base64.b64decode(stored["data"], validate=True)
        unpacked = zlib.decompressobj()
        data = unpacked.decompress(packed, _LARGEST_BYTES)
        if not isinstance(name, str) or unpacked.unconsumed_tail or not unpacked.eof:
            raise ValueError("too large, or cut short")
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error) as error:
        raise InputError(f"damaged metadata: {error}", where=TOKENIZER, hint="import the checkpoint again") from error
    return Tokenizer.from_bytes(name, data, vocabulary)


def _bytes(data: bytes) -> Tokenizer:
    return Tokenizer("", b"", tuple(bytes([i]) for i in range(BYTES)), False, list)


def _llama2c(data: bytes) -> Tokenizer:
    pairs = read_bytepairs(data, "tokenizer.bin")
    return Tokenizer("tokenizer.bin", data, pairs.texts(), True, pairs.encode)


def _sentencepiece(data: bytes) -> Tokenizer:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise _missing("sentencepiece") from error
    try:
        processor = SentencePieceProcessor(model_proto=data)
        count = processor.get_piece_size()
    except Exception as error:  # its exceptions have no other base class
        raise InputError(f"not a model of SentencePiece: {error}", where="tokenizer.model") from error
    if not count:
        raise InputError("not a model of SentencePiece", where="tokenizer.model", hint="copy it again")
    pieces = []
    for token in range(count):
        text = processor.id_to_piece(token)
        if processor.is_byte(token):
            pieces.append(bytes([int(text[3:5], 16)]))
        elif processor.is_control(token) or processor.is_unknown(token) or processor.is_unused(token):
            pieces.append(b"")
        else:
            pieces.append(text.replace(_SPACE, " ").encode())

    def encode(text: bytes) -> list[int]:
        return [int(i) for i in processor.encode(_text(text))]

    drops = "".join(processor.id_to_piece(i) for i in encode(b"a")).startswith(_SPACE)
    return Tokenizer("tokenizer.model", data, tuple(pieces), drops, encode)


def _huggingface(data: bytes) -> Tokenizer:
    try:
        import tokenizers
    except ImportError as error:
        raise _missing("tokenizers") from error
    try:
        model: Any = tokenizers.Tokenizer.from_str(data.decode())
        model.no_truncation()
        model.no_padding()
        decoder = json.loads(model.to_str())["decoder"]
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # what its Rust panics with is no Exception
        raise InputError(f"not a tokenizer.json: {str(error)[:200]}", where="tokenizer.json") from error
    kinds = _decoders(decoder)
    if not kinds & {"ByteLevel", "Metaspace", "Replace"}:
        raise InputError(
            f"tokens are joined by {', '.join(sorted(kinds)) or 'nothing'}, which is not known", where="tokenizer.json",
            hint="known: ByteLevel, Metaspace, and Replace as Llama's has it",
        )  # fmt: skip
    added = model.get_added_tokens_decoder()
    size = max([model.get_vocab_size(with_added_tokens=False) - 1, *added]) + 1
    alphabet = _alphabet() if "ByteLevel" in kinds else None
    pieces = []
    for token in range(size):
        text = model.id_to_token(token)
        if token in added:
            pieces.append(b"" if added[token].special else added[token].content.encode())
        elif text is None:
            pieces.append(b"")
        elif alphabet is not None:
            pieces.append(bytes(alphabet[c] for c in text if c in alphabet))
        elif "ByteFallback" in kinds and len(text) == 6 and text.startswith("<0x"):
            pieces.append(bytes([int(text[3:5], 16)]))
        else:
            pieces.append(text.replace(_SPACE, " ").encode())

    def encode(text: bytes) -> list[int]:
        return [int(i) for i in model.encode(_text(text), add_special_tokens=False).ids]

    written = b"".join(pieces[i] for i in encode(b"a"))
    drops = written.startswith(b" ") and not model.decode(encode(b"a")).startswith(" ")
    return Tokenizer("tokenizer.json", data, tuple(pieces), drops, encode)


def _decoders(found: Any) -> set[str]:
    """The types in a decoder, which may be a sequence of others."""
    if not isinstance(found, dict):
        return set()
    return {str(found.get("type"))}.union(*(_decoders(inner) for inner in found.get("decoders", ())))


def _alphabet() -> dict[str, int]:
    """The characters by which GPT-2's vocabularies write bytes: themselves where they can be seen, else from 256 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in seen]
    return {**{chr(b): b for b in seen}, **{chr(256 + i): b for i, b in enumerate(rest)}}


def _text(text: bytes) -> str:
    """For tokenizers that take no bytes. Raises InputError where these are no UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8: {error}", where="the text", hint="this tokenizer reads nothing else") from error


def _missing(package: str) -> InputError:
    return InputError(f"{package} is not installed", hint=f"pip install {package} (in a checkout: '.[llm]')")
