// Types of model.mjs, and of index.mjs in packages.

export type Dtype = "f32" | "i64" | "i32" | "i8" | "u8" | "bool";
/** Flat, row-major: Float32Array for f32, BigInt64Array for i64, Uint8Array for u8 and bool, ... */
export type TypedArray = Float32Array | BigInt64Array | Int32Array | Int8Array | Uint8Array;
export type Arrays = Record<string, TypedArray>;

/** An input or output of the model. */
export interface Port {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  readonly bytes: number;
}

/** One kernel call; more is in the manifest. */
export interface Layer {
  readonly name: string;
  readonly op: string;
  readonly kernel: string;
  readonly pattern: string;
  /** The share of weights that are zero. */
  readonly zeros: number;
  readonly shape: readonly number[];
  readonly macs: number;
  readonly weight_bytes: number;
  readonly predicted_us: number;
  /** Its numbers in `Times.callMs`. */
  readonly calls: readonly number[];
  readonly [more: string]: unknown;
}

/** One build of the model. */
export interface Module {
  readonly file: string;
  readonly isa: Isa;
  readonly threads: boolean;
  readonly bytes: number;
}

/** manifest.json. */
export interface Manifest {
  readonly schema_version: number;
  readonly edgesparse: string;
  readonly name: string;
  readonly device: string;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly layers: readonly Layer[];
  readonly modules: readonly Module[];
  readonly weights_bytes: number;
  readonly arena_bytes: number;
  readonly files: Readonly<Record<string, string>>;
  readonly [more: string]: unknown;
}

export type Isa = "simd128" | "relaxed";

/** "download" is in bytes, "start" in threads. Each phase ends with loaded equal to total. */
export interface Progress {
  phase: "download" | "compile" | "start";
  loaded: number;
  total: number;
}

export interface LoadOptions {
  /**
   * How many threads run the model. "auto", the default: up to 8 where memory can be shared and a run is long enough;
   * 0: one for each CPU. Pages can share memory when they are served with Cross-Origin-Opener-Policy: same-origin and
   * Cross-Origin-Embedder-Policy: require-corp.
   */
  threads?: number | "auto";
  /** Relaxed SIMD; "auto", the default: where the engine has it. */
  relaxed?: boolean | "auto";
  /** Run in a Worker. The default is true in pages, and false in workers, node.js and Deno. */
  worker?: boolean;
  /** What cannot be as asked for is an error; without it `Model.why` says what was done instead. */
  strict?: boolean;
  onProgress?: (progress: Progress) => void;
  /** Ends loading: it rejects with LoadError, code "aborted". */
  signal?: AbortSignal;
  /** Keep files in the Cache API, by the SHA-256 of the manifest. The default is true where there is one. */
  cache?: boolean;
  /** Compare every file with its SHA-256 in the manifest. */
  verify?: boolean;
  /** For bundles that come from elsewhere: gives the content of a file. */
  read?: (name: string) => Promise<Uint8Array>;
}

export interface TimeOptions {
  /** How many runs to time (20). */
  numRuns?: number;
  /** Untimed runs before them (3). */
  warmupRuns?: number;
  /** After each run time another one, kernel call by kernel call. */
  perLayer?: boolean;
  /** Stop after so many seconds, when at least one run was timed. */
  maxSecs?: number;
}

export interface Times {
  /** Of each run, measured where it runs. */
  wallMs: number[];
  /** With `perLayer`: of each kernel call of each run. */
  callMs?: number[][];
}

interface Loaded {
  readonly manifest: Manifest;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly isa: Isa;
  readonly threads: number;
  /** Why it does not run better: "1 thread: crossOriginIsolated is false", ... */
  readonly why: readonly string[];
}

export interface Model extends Loaded {
  /** "relaxed SIMD, 4 threads, worker". */
  readonly backend: string;
  /** Outputs by name, new arrays each time. Concurrent calls queue. Rejects with InputError or RunError. */
  run(inputs: Arrays): Promise<Arrays>;
  time(inputs: Arrays, options?: TimeOptions): Promise<Times>;
  /** Ends workers and frees memory. What waits, and every later call, rejects with RunError, code "closed". */
  close(): Promise<void>;
}

/** Load the bundle that lies beside the module. Rejects with LoadError. */
export function load(options?: LoadOptions): Promise<Model>;
/** Load the bundle in the folder at `base`: a URL, or in node.js and Deno also a path. Rejects with LoadError. */
export function load(base: string | URL, options?: LoadOptions): Promise<Model>;

/** A model in the calling thread, which it stops while it runs. For those who are in a worker already. */
export interface SyncModel extends Loaded {
  /** How many kernel calls a run is made of. */
  readonly calls: number;
  run(inputs: Arrays): Arrays;
  time(inputs: Arrays, options?: TimeOptions): Times;
  /** Views of WebAssembly memory, to be written before execute(). */
  inputViews(): Arrays;
  /** What the last execute() left; the next one overwrites it. */
  outputViews(): Arrays;
  /** Run on what is in inputViews(); or only kernel calls first..last-1. */
  execute(first?: number, last?: number): void;
  close(): Promise<void>;
}

export function loadHere(options?: Omit<LoadOptions, "worker">): Promise<SyncModel>;
export function loadHere(base: string | URL, options?: Omit<LoadOptions, "worker">): Promise<SyncModel>;

/** What this engine can run. */
export function features(): { simd: boolean; relaxedSimd: boolean; threads: boolean };
/** What keeps workers from sharing a memory, or "". */
export function whyNoThreads(): string;

/** Something the caller can act on: `code` is for programs, `hint` says what to try. */
export class EdgeSparseError extends Error {
  readonly code: string;
  readonly hint: string;
}
/** The bundle cannot be fetched, is damaged, or this engine cannot run it. */
export class LoadError extends EdgeSparseError {
  readonly code: "fetch" | "aborted" | "manifest" | "damaged" | "simd" | "relaxed-simd" | "compile" | "memory"
    | "threads" | "worker" | "tokenizer";
}
/** An input is missing, unknown, or of another type or length. */
export class InputError extends EdgeSparseError {
  readonly code: "missing" | "unknown" | "type" | "length" | "decoder" | "prompt";
}
/** The model stopped in the middle, or is gone. */
export class RunError extends EdgeSparseError {
  readonly code: "trap" | "closed" | "worker" | "busy";
}
