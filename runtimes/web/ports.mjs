// Inputs and outputs: which arrays they are.

import { InputError } from "./errors.mjs";

export const ARRAYS = {
  f32: Float32Array, i64: BigInt64Array, i32: Int32Array, i8: Int8Array, u8: Uint8Array, bool: Uint8Array,
};

/** Compare {name: TypedArray} with the inputs of the manifest. Throws InputError. */
export function checkInputs(ports, arrays) {
  const known = ports.map((port) => `'${port.name}'`).join(", ");
  if (typeof arrays !== "object" || arrays === null) {
    throw new InputError("missing", "run() takes an object with an array for each input", `the inputs are: ${known}`);
  }
  for (const name of Object.keys(arrays)) {
    if (!ports.some((port) => port.name === name)) {
      throw new InputError("unknown", `the model has no input '${name}'`, `its inputs are: ${known}`);
    }
  }
  for (const port of ports) {
    const type = ARRAYS[port.dtype];
    const length = port.bytes / type.BYTES_PER_ELEMENT;
    const expected = `expected a ${type.name} of ${length} values (shape [${port.shape.join(", ")}])`;
    const array = arrays[port.name];
    if (array === undefined) throw new InputError("missing", `input '${port.name}' is missing; ${expected}`);
    if (!(array instanceof type)) {
      const given = array === null ? "null" : array.constructor?.name ?? typeof array;
      throw new InputError("type", `input '${port.name}': ${expected}, got ${given}`);
    }
    if (array.length !== length) {
      throw new InputError("length", `input '${port.name}': ${expected}, got ${array.length} values`);
    }
  }
}
