// Types of language.mjs, and of index.mjs in packages of language models.

import type { Isa, LoadOptions, Manifest } from "./model.js";

export * from "./model.js";

/** `manifest.decoder` of a language model. */
export interface Decoder {
  /** How many tokens of a text can be read, its beginning included; it ends with one more, which is not. */
  readonly context: number;
  readonly vocabulary: number;
  readonly blocks: number;
  readonly weights: "f32" | "f16" | "int8" | "int4";
  /** Of activation sparsity: "" for none. */
  readonly method: string;
  readonly sparsity: number;
  readonly [more: string]: unknown;
}

export interface GenerateOptions {
  /** The most tokens to add (100), from 1 to 2^30. */
  maxTokens?: number;
  /** 0, the default: the likeliest token each time; the larger, the more chance, up to 1000. */
  temperature?: number;
  /** Among the likeliest tokens that together have this probability (1). */
  topP?: number;
  /** Of chance: the same seed gives the same text (0). */
  seed?: number;
  /** Tokens that end the text; those of the model unless given. */
  stops?: readonly number[];
  /** Where the context is full, forget the oldest tokens rather than end. */
  sliding?: boolean;
  /** No rule of activation sparsity holds. */
  dense?: boolean;
  /** Ends the text. */
  signal?: AbortSignal;
  /** Gets, after each token or a few, what `LanguageModel.stats` is then. */
  onStats?: (stats: Stats) => void;
}

/** Why a text ended: `maxTokens`, a token that ends texts, a full context, or `signal`. */
export type Finish = "length" | "stop" | "context" | "aborted";

export interface Stats {
  readonly promptTokens: number;
  readonly promptMs: number;
  /** Tokens that were computed one at a time, after the prompt. */
  readonly decoded: number;
  readonly decodeMs: number;
  readonly tokensPerSecond: number;
  /** Weights that were read for each, the mean. */
  readonly bytesPerToken: number;
  /** The share of inputs (or outputs) that counted in each linear layer, the mean. */
  readonly layers: readonly { readonly block: number; readonly site: Site; readonly active: number }[];
  /** "" while the text is written. */
  readonly finish: Finish | "";
}

export type Site = "q" | "k" | "v" | "o" | "gate" | "up" | "down";

export interface Tokenizer {
  readonly count: number;
  /** Without any token that begins or ends a text. */
  encode(text: string | Uint8Array): number[];
  decode(tokens: Iterable<number>): string;
}

export interface LanguageModel {
  readonly manifest: Manifest & { readonly decoder: Decoder };
  /** As in `Decoder`. */
  readonly context: number;
  readonly tokenizer: Tokenizer;
  readonly isa: Isa;
  readonly threads: number;
  /** "relaxed SIMD, 4 threads, worker"; undefined of loadHere(). */
  readonly backend?: string;
  readonly why: readonly string[];
  /** Of the last text, so far: what it cost, and its tokens without the prompt. */
  readonly stats: Stats | null;
  readonly tokens: readonly number[];
  /** The tokens of a prompt. */
  encode(text: string): number[];
  /**
   * What comes after `prompt`, in pieces of whole characters. Rejects with InputError or RunError, which is of code
   * "busy" while another text is written.
   */
  generate(prompt: string, options?: GenerateOptions): AsyncGenerator<string, Finish, undefined>;
  /** Ends workers and frees memory. */
  close(): Promise<void>;
}

/** Load the bundle that lies beside the module. Rejects with LoadError. */
export function load(options?: LoadOptions): Promise<LanguageModel>;
/** Load the bundle in the folder at `base`: a URL, or in node.js and Deno also a path. Rejects with LoadError. */
export function load(base: string | URL, options?: LoadOptions): Promise<LanguageModel>;
/** The same in the calling thread, which it stops while it computes a token. */
export function loadHere(options?: Omit<LoadOptions, "worker">): Promise<LanguageModel>;
export function loadHere(base: string | URL, options?: Omit<LoadOptions, "worker">): Promise<LanguageModel>;
