"""What a bundle for browsers is made of beside its modules and weights: JavaScript, in the files here."""

from __future__ import annotations

from collections.abc import Iterable

TYPES = ("model.d.ts", "language.d.ts")  # those that all bundles have, and those of language models besides
_ENTRY = """\
// The entry of this bundle as a package of npm: MODULE, where load() without an address takes the files beside it.
// Bundlers (Vite, webpack, Rollup) look for `new URL("./name", import.meta.url)` and bring such files along.

import { loadBeside, loadHereBeside } from "./MODULE";

export * from "./MODULE";

const files = {
%s
};

export function load(base, options) {
  return loadBeside({ files }, base, options);
}

export function loadHere(base, options) {
  return loadHereBeside({ files }, base, options);
}
"""


def package_entry(names: Iterable[str], module: str = "model.mjs") -> str:
    """The text of index.mjs. ``names`` are those of all files of the bundle; ``module`` loads it."""
    found = sorted(n for n in names if n.endswith(".wasm") or is_data(n))
    lines = (f'  "{name}": new URL("./{name}", import.meta.url).href,' for name in ("manifest.json", *found))
    return _ENTRY.replace("MODULE", module) % "\n".join(lines)


def is_data(name: str) -> bool:
    """Whether a loaded model reads that file of the bundle besides modules and the manifest."""
    return name.startswith(("weights.", "tokenizer.")) and not name.endswith(".mjs")
