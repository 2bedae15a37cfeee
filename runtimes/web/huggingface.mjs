// The tokenizer.json of Hugging Face, where it merges pairs: with an alphabet of bytes (Llama 3, Qwen, Mistral), or in
// SentencePiece's style with characters and bytes for those that are none (Llama, Mistral, Gemma).

import { merged } from "./bytepairs.mjs";
import { InputError, LoadError } from "./errors.mjs";
import { ALPHABET, normalizer, preTokenizer, unsupported } from "./splits.mjs";

const SPACE = "\u2581"; // what stands for a space in SentencePiece's tokens

/** The tokenizer in the bytes of a tokenizer.json: {count, piece, encode, dropsSpace}. Throws LoadError. */
export function huggingFace(data) {
  let file;
  try {
    file = JSON.parse(new TextDecoder().decode(data));
    return made(file);
  } catch (cause) {
    if (cause instanceof LoadError) throw cause;
    throw new LoadError("damaged", `tokenizer.json is damaged: ${cause.message}`, "copy the bundle again", cause);
  }
}

function made(file) {
  const { model } = file, added = file.added_tokens ?? [];
  check(model, added);
  const normalize = normalizer(file.normalizer), split = preTokenizer(file.pre_tokenizer);
  const words = new Words(model);
  const raw = finder(added.filter((token) => !token.normalized), (text) => text);
  const normal = finder(added.filter((token) => token.normalized), normalize);
  const names = [], specials = new Map();
  for (const [text, id] of Object.entries(model.vocab)) names[id] = text;
  for (const { id, content, special } of added) specials.set(id, special ? "" : content);
  const count = Math.max(names.length - 1, ...specials.keys()) + 1;

  function encode(bytes) {
    const text = wellFormed(bytes), tokens = [];
    for (const [part, token, at] of raw(text)) {
      if (token !== undefined) {
        tokens.push(token);
        continue;
      }
      for (const [inner, known, from] of normal(normalize(part))) {
        if (known !== undefined) tokens.push(known);
        else for (const word of split([inner], at === 0 && from === 0)) words.add(word, tokens);
      }
    }
    return tokens;
  }

  const kinds = decoders(file.decoder);
  const write = writer(kinds);
  const piece = (token) => {
    if (specials.has(token)) return new TextEncoder().encode(specials.get(token));
    return names[token] === undefined ? new Uint8Array(0) : write(names[token]);
  };
  const begin = encode(new TextEncoder().encode("a")).map(piece).find((bytes) => bytes.length > 0);
  return { count, piece, encode, dropsSpace: begin?.[0] === 0x20 && stripsStart(file.decoder) };
}

/** Whether all that the file asks for is done here. Throws LoadError. */
function check(model, added) {
  if (model?.type !== undefined && model.type !== "BPE") throw unsupported(`a model ${model.type}`);
  if (typeof model?.vocab !== "object" || !Array.isArray(model.merges)) throw unsupported("a model without merges");
  if (model.dropout) throw unsupported("merges that are left out by chance");
  for (const name of ["continuing_subword_prefix", "end_of_word_suffix"]) {
    if (model[name]) throw unsupported(`a ${name}`);
  }
  for (const { content, single_word: single, lstrip, rstrip } of added) {
    if (single || lstrip || rstrip) throw unsupported(`a token '${content}' that depends on what is around it`);
  }
}

/** text -> [text, token or undefined, where it begins] of each part: where tokens stand in it as they are, and between
 * them. Of tokens that begin alike, the longest. */
function finder(added, normalize) {
  const known = new Map(added.map(({ content, id }) => [normalize(content), id]));
  known.delete("");
  if (known.size === 0) return (text) => (text ? [[text, undefined, 0]] : []);
  const escaped = [...known.keys()].sort((a, b) => b.length - a.length)
    .map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  const pattern = new RegExp(escaped.join("|"), "gu");
  return (text) => {
    const parts = [];
    let end = 0;
    for (const { 0: found, index } of text.matchAll(pattern)) {
      if (index > end) parts.push([text.slice(end, index), undefined, end]);
      parts.push([found, known.get(found), index]);
      end = index + found.length;
    }
    if (end < text.length) parts.push([text.slice(end), undefined, end]);
    return parts;
  };
}

/** Words to tokens. */
class Words {
  #ids;
  #pairs = new Map(); // left * size + right -> rank
  #results = []; // token of each rank
  #size;
  #model;
  #known = new Map(); // words seen before

  constructor(model) {
    this.#model = model;
    this.#ids = new Map(Object.entries(model.vocab));
    this.#size = this.#ids.size;
    model.merges.forEach((merge, rank) => {
      const pair = typeof merge === "string" ? merge.split(" ") : merge;
      const [left, right, token] = [...pair, pair.join("")].map((text) => this.#ids.get(text));
      if (pair.length !== 2 || [left, right, token].includes(undefined)) {
        throw new LoadError("damaged", `tokenizer.json is damaged: merge ${rank} is of no tokens`, "copy the bundle again");
      }
      this.#size = Math.max(this.#size, left + 1, right + 1);
      this.#results.push(token);
    });
    model.merges.forEach((merge, rank) => {
      const [left, right] = typeof merge === "string" ? merge.split(" ") : merge;
      this.#pairs.set(this.#ids.get(left) * this.#size + this.#ids.get(right), rank);
    });
  }

  /** Append those of `word`. */
  add(word, tokens) {
    let found = this.#known.get(word);
    if (found === undefined) {
      found = this.#merged(word);
      if (word.length < 64 && this.#known.size < 1 << 14) this.#known.set(word, found);
    }
    for (const token of found) tokens.push(token);
  }

  #merged(word) {
    const whole = this.#model.ignore_merges ? this.#ids.get(word) : undefined;
    if (whole !== undefined) return [whole];
    return merged(this.#characters(word), (left, right) => {
      const rank = this.#pairs.get(left * this.#size + right);
      return rank === undefined ? undefined : { rank, token: this.#results[rank] };
    });
  }

  #characters(word) {
    const { byte_fallback: fallback, unk_token: unknown, fuse_unk: fuse } = this.#model, tokens = [];
    const none = unknown ? this.#ids.get(unknown) : undefined;
    let wasNone = false;
    for (const character of word) {
      const token = this.#ids.get(character), bytes = token === undefined && fallback ? this.#bytes(character) : [];
      const isNone = token === undefined && bytes.length === 0;
      if (token !== undefined) tokens.push(token);
      else if (bytes.length) tokens.push(...bytes);
      else if (none !== undefined && !(fuse && wasNone)) tokens.push(none);
      wasNone = isNone;
    }
    return tokens;
  }

  /** Tokens for the bytes of a character, or none where one of them has none. */
  #bytes(character) {
    const bytes = Array.from(new TextEncoder().encode(character), (byte) => {
      const name = byte.toString(16).toUpperCase().padStart(2, "0");
      return this.#ids.get(`<0x${name}>`);
    });
    return bytes.includes(undefined) ? [] : bytes;
  }
}

/** All parts of a decoder, which may be a sequence of others. */
function parts(spec) {
  return spec ? [spec, ...(spec.decoders ?? []).flatMap(parts)] : [];
}

function decoders(spec) {
  const kinds = new Set(parts(spec).map(({ type }) => type));
  if (!["ByteLevel", "Metaspace", "Replace"].some((kind) => kinds.has(kind))) {
    throw unsupported(`a decoder ${[...kinds].join(", ") || "of nothing"}`);
  }
  return kinds;
}

/** Whether a decoder takes away the space at the beginning of a text. */
function stripsStart(spec) {
  return parts(spec).some(({ type, content, start, prepend_scheme: scheme = "always" }) =>
    (type === "Strip" && content === " " && start > 0) || (type === "Metaspace" && scheme !== "never"));
}

/** The bytes that a token of the vocabulary writes. */
function writer(kinds) {
  const encoder = new TextEncoder();
  if (kinds.has("ByteLevel")) {
    const bytes = new Map(ALPHABET.map((character, byte) => [character, byte]));
    return (text) => Uint8Array.from(Array.from(text).filter((c) => bytes.has(c)), (c) => bytes.get(c));
  }
  return (text) => {
    const byte = kinds.has("ByteFallback") && text.length === 6 && /^<0x([0-9A-Fa-f]{2})>$/.exec(text);
    return byte ? Uint8Array.of(parseInt(byte[1], 16)) : encoder.encode(text.replaceAll(SPACE, " "));
  };
}

function wellFormed(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new InputError("prompt", "the text is not UTF-8", "this tokenizer reads nothing else", cause);
  }
}
