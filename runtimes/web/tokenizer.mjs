// Text to tokens and back, as tokenizer.py has it: bytes, the tokenizer.bin of llama2.c, or a tokenizer.json.

import { llama2c } from "./bytepairs.mjs";
import { InputError, LoadError } from "./errors.mjs";
import { huggingFace } from "./huggingface.mjs";

const BYTES = 256;
const KINDS = { "": plain, "tokenizer.bin": llama2c, "tokenizer.json": huggingFace };
const MATCH = "the tokenizer and the weights are of different models";

/** A tokenizer; `tokenizerOf` makes them. */
export class Tokenizer {
  #found;
  #pieces = [];

  /**
   * `found`: {count, piece(token), encode(bytes), dropsSpace}; `count`: the tokens of the model, of which those that
   * `found` does not know pad the vocabulary. They write nothing; tokenizer.py says why.
   */
  constructor(found, count) {
    this.#found = found;
    /** How many tokens there are. */
    this.count = count;
  }

  /** The tokens of a string or of bytes, without any that begin or end a text. Throws InputError. */
  encode(text) {
    return this.#found.encode(typeof text === "string" ? new TextEncoder().encode(text) : text);
  }

  /** The bytes that `token` writes; `first`: at the beginning of a text. Throws InputError. */
  piece(token, first = false) {
    if (!(token >= 0 && token < this.count)) throw new InputError("prompt", `token ${token} of ${this.count}`, MATCH);
    const bytes = this.#pieces[token] ??= token < this.#found.count ? this.#found.piece(token) : new Uint8Array(0);
    return first && this.#found.dropsSpace && bytes[0] === 0x20 ? bytes.subarray(1) : bytes;
  }

  /** The text that `tokens` write, from the beginning of a text. Throws InputError. */
  decode(tokens) {
    const characters = new Characters(this, false);
    const text = Array.from(tokens, (token) => characters.of(token)).join("") + characters.end();
    return this.#found.dropsSpace && text.startsWith(" ") ? text.slice(1) : text;
  }
}

/** Text as its tokens come, in whole characters. */
export class Characters {
  #tokenizer;
  #first;
  #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  /** `first`: the first token begins a text, rather than going on with one. */
  constructor(tokenizer, first) {
    this.#tokenizer = tokenizer;
    this.#first = first;
  }

  of(token) {
    const bytes = this.#tokenizer.piece(token, this.#first);
    this.#first = false;
    return this.#decoder.decode(bytes, { stream: true });
  }

  /** What is left of a character that broke off. */
  end() {
    return this.#decoder.decode();
  }
}

/** The tokenizer of a manifest whose file has these bytes. Throws LoadError. */
export function tokenizerOf({ tokenizer: name, vocabulary }, bytes) {
  if (name === "" && vocabulary !== BYTES) {
    throw new LoadError("tokenizer", "the bundle has no tokenizer, and its tokens are not bytes",
      "edgesparse import-llm CHECKPOINT --tokenizer FILE takes one in; or continue tokens with generate.mjs");
  }
  if (!Object.hasOwn(KINDS, name)) {
    throw new LoadError("tokenizer", `a ${name} is not read in JavaScript`,
      "import the checkpoint with a tokenizer.json or llama2.c's tokenizer.bin; or continue tokens with generate.mjs");
  }
  const found = KINDS[name](bytes), exact = name !== "tokenizer.json";
  // a vocabulary may be padded to a round number
  if (exact ? found.count !== vocabulary : found.count > vocabulary) {
    throw new LoadError("tokenizer", `the tokenizer has ${found.count} tokens, the model ${vocabulary}`, MATCH);
  }
  return new Tokenizer(found, vocabulary);
}

function plain() {
  return {
    count: BYTES, dropsSpace: false, piece: (token) => Uint8Array.of(token), encode: (bytes) => Array.from(bytes),
  };
}
