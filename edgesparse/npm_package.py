"""package.json of a WebAssembly bundle: the folder is a package of npm."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

ENTRY, TYPES, LANGUAGE = "index.mjs", "model.d.ts", "language.d.ts"
TAKEN = ("node_modules", "favicon.ico")  # names that npm refuses
LONGEST = 214


def package_name(name: str) -> str:
    """``name`` as npm accepts it: ``My model (v2)`` -> ``my-model-v2``."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:LONGEST].rstrip("-._")
    return f"{plain}-model" if plain in TAKEN else plain or "model"


def package_json(name: str, edgesparse: str, content: Mapping[str, bytes]) -> str:
    """The document for the bundle called ``name``; ``content`` is every other file but manifest.json.

    The version is made of what the files hold: another content is another version, of which none is newer.
    """
    digest = hashlib.sha256()
    for file, data in sorted(content.items()):
        digest.update(f"{file} {hashlib.sha256(data).hexdigest()}\n".encode())
    shipped = [f for f in content if f.endswith((".mjs", ".wasm", ".d.ts")) or f.startswith(("weights.", "tokenizer."))]
    typed, typed_entry = ({"types": f"./{TYPES}"}, {"types": f"./{LANGUAGE if LANGUAGE in content else TYPES}"})
    document = {
        "name": package_name(name),
        "version": f"0.0.0-sha{digest.hexdigest()[:12]}",  # with letters: a number must not begin with 0
        "description": f"{name}, a neural network compiled by edgesparse {edgesparse}",
        "type": "module",
        "main": f"./{ENTRY}",
        **typed_entry,
        "exports": {
            ".": {**typed_entry, "default": f"./{ENTRY}"},
            "./model.mjs": {**typed, "default": "./model.mjs"},
            **({"./generate.mjs": "./generate.mjs"} if LANGUAGE in content else {}),
            "./manifest.json": "./manifest.json",
            "./package.json": "./package.json",
        },
        "files": sorted([*shipped, "manifest.json"]),
        "sideEffects": False,
        "engines": {"node": ">=18"},
    }
    return json.dumps(document, indent=2) + "\n"
