// SHA-256, as the manifest has it of every file.

import { HAS_NODE_MODULES, nodeModule } from "./engine.mjs";
import { LoadError } from "./errors.mjs";

/** In hexadecimal. Throws LoadError where the engine cannot. */
export async function sha256(bytes) {
  let subtle = globalThis.crypto?.subtle;
  if (!subtle && HAS_NODE_MODULES) subtle = (await nodeModule("crypto")).webcrypto.subtle; // node 18
  if (!subtle) {
    throw new LoadError("damaged", "nothing can be verified: crypto.subtle is for secure contexts",
      "serve the page over https or from localhost, or load without verify");
  }
  const isShared = typeof SharedArrayBuffer !== "undefined" && bytes.buffer instanceof SharedArrayBuffer;
  const digest = await subtle.digest("SHA-256", isShared ? bytes.slice() : bytes);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
