// What model.mjs throws.

/** Something the caller can act on. `code` is for programs, `hint` says what to try. */
export class EdgeSparseError extends Error {
  constructor(code, message, hint = "", cause = undefined) {
    super(hint ? `${message}\n  hint: ${hint}` : message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = hint;
  }
}
/** The bundle cannot be fetched, is damaged, or this engine cannot run it. Codes: fetch, manifest,
 * damaged, simd, relaxed-simd, compile, memory, threads. */
export class LoadError extends EdgeSparseError {}
/** An input is missing, unknown, or of another type or length. Codes: missing, unknown, type, length. */
export class InputError extends EdgeSparseError {}
/** The model stopped in the middle. Codes: trap, closed. */
export class RunError extends EdgeSparseError {}
