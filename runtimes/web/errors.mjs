// What load() and models throw.

/** Something the caller can act on. `code` is for programs, `hint` says what to try. */
export class EdgeSparseError extends Error {
  constructor(code, message, hint = "", cause = undefined) {
    super(hint ? `${message}\n  hint: ${hint}` : message, cause === undefined ? undefined : { cause });
    this.name = new.target.title;
    this.code = code;
    this.hint = hint;
  }
}
/** The bundle cannot be fetched, is damaged, or this engine cannot run it. Codes: fetch, aborted, manifest, damaged,
 * simd, relaxed-simd, compile, memory, threads, worker, tokenizer. */
export class LoadError extends EdgeSparseError {
  static title = "LoadError"; // minifiers rename classes
}
/** An input is missing, unknown, or of another type or length. Codes: missing, unknown, type, length; of language models
 * decoder, prompt. */
export class InputError extends EdgeSparseError {
  static title = "InputError";
}
/** The model stopped in the middle, or is gone. Codes: trap, closed, worker, busy. */
export class RunError extends EdgeSparseError {
  static title = "RunError";
}

const KINDS = [LoadError, InputError, RunError];

/** What of an error goes to another thread. */
export function packed(error) {
  const { name, code, hint, message, stack } = error instanceof Error ? error : new Error(String(error));
  return { name, code, hint, message, stack };
}

/** The error that `packed` was made of. */
export function unpacked({ name, code, hint, message, stack }) {
  const kind = KINDS.find(({ title }) => title === name);
  if (kind === undefined) return Object.assign(new Error(message), { name, stack });
  return Object.assign(new kind(code, message), { hint }); // the message has the hint already
}
