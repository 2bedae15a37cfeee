// Where a bundle is.

import { HAS_NODE_MODULES, nodeModule } from "./engine.mjs";
import { LoadError } from "./errors.mjs";

/**
 * Where a bundle is, as what can be sent to a worker: `{folder}`, or `{files}` by their names; addresses are absolute.
 * `base` is a URL or a path (of node.js and Deno), or such a place. Throws LoadError.
 */
export async function placeOf(base) {
  if (typeof base === "object" && !(base instanceof URL)) return base;
  const text = String(base);
  let url;
  if (HAS_NODE_MODULES && !/^[a-z][a-z0-9+.-]+:/i.test(text)) {
    const [path, { pathToFileURL }] = await Promise.all([nodeModule("path"), nodeModule("url")]);
    url = pathToFileURL(path.resolve(text));
  } else {
    try {
      url = new URL(text, globalThis.document?.baseURI ?? globalThis.location?.href);
    } catch (cause) {
      throw new LoadError("fetch", `'${text}' is no address of a bundle`, "give that of a folder", cause);
    }
  }
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return { folder: url.href };
}
