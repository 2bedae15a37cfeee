"""What a bundle for browsers is made of beside its modules and weights: JavaScript, in the files here."""

from __future__ import annotations

from collections.abc import Iterable

_ENTRY = """\
// The entry of this bundle as a package of npm: model.mjs, where load() without an address takes the files beside it.
// Bundlers (Vite, webpack, Rollup) look for `new URL("./name", import.meta.url)` and bring such files along.

import { loadBeside, loadHereBeside } from "./model.mjs";

export * from "./model.mjs";

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


def package_entry(names: Iterable[str]) -> str:
    """The text of index.mjs. ``names`` are those of all files of the bundle."""
    found = sorted(n for n in names if n.endswith(".wasm") or n.startswith("weights."))
    lines = (f'  "{name}": new URL("./{name}", import.meta.url).href,' for name in ("manifest.json", *found))
    return _ENTRY % "\n".join(lines)
