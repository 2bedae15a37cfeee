"""The page of language models, as `edgesparse demo lm.edge` shows it: files under their addresses.

index.html, app.mjs, ..            pages/language/, and of pages/demo/ what both pages have
runtime/*.mjs                      the loader, as in the bundles
models/N/..                        the bundles without their sources
demo.json                          what there is
service-worker.js                  as in `demo_site`
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from edgesparse.decoder.texts import tokenizer_in
from edgesparse.demo_site import DOCUMENT, PAGES, RETIRED, WORKER, Site, worker
from edgesparse.errors import InputError
from edgesparse.manifest import Manifest, read_manifest
from edgesparse.runtimes.files import read_verified
from edgesparse.runtimes.node import LOADER, TO_GENERATE
from edgesparse.version import __version__

PAGE = "pages/language"
SHARED = ("style.css", "dom.mjs", "environment.mjs", "format.mjs", "offline.mjs", "theme.mjs")
MOST = 2
_HINT = "edgesparse compile lm.onnx --device browser -o lm.edge makes one"


def language_site(bundles: Sequence[Path], *, export: bool = False) -> Site:
    """Address -> file or content, for one bundle or for two that are shown beside each other.

    Raises:
        InputError: more than two, or one that is no language model for browsers, or without a tokenizer.
        RuntimeFailure: a bundle is damaged.
    """
    if len(bundles) > MOST:
        raise InputError(f"{len(bundles)} bundles", hint=f"the page shows {MOST} at most, beside each other")
    manifests = [_manifest(bundle) for bundle in bundles]
    package = files("edgesparse")
    found: dict[str, Path | bytes] = {page.name: page.read_bytes() for page in (package / PAGE).iterdir()}
    found |= {name: (package / PAGES / name).read_bytes() for name in SHARED}
    found |= {f"runtime/{name}": (package / "runtimes/web" / name).read_bytes() for name in (*LOADER, *TO_GENERATE)}
    models = []
    for number, (bundle, manifest) in enumerate(zip(bundles, manifests, strict=True)):
        folder, names = f"models/{number}/", _served(manifest)
        for name in names[1:]:
            read_verified(bundle, manifest, name)
        found |= {folder + name: bundle / name for name in names}
        models.append(_described(manifest, folder))
    if len({model["name"] for model in models}) < len(models):
        for number, model in enumerate(models, 1):
            model["name"] = f"{model['name']} ({number})"
    document = {"edgesparse": __version__, "models": models, "offline": export}
    found[DOCUMENT] = json.dumps(document).encode()
    script = (package / PAGES / (WORKER if export else RETIRED)).read_text()
    found[WORKER] = worker(script, found) if export else script.encode()
    return found


def _manifest(bundle: Path) -> Manifest:
    manifest = read_manifest(bundle)
    if manifest.decoder is None:
        raise InputError("is not a language model", where=str(bundle), hint="edgesparse demo MODEL.onnx shows others")
    if manifest.kind != "wasm":
        raise InputError(f"is compiled for {manifest.device}, not for browsers", where=str(bundle), hint=_HINT)
    tokenizer_in(bundle, manifest)  # the page has no tokens to give, only texts
    return manifest


def _served(manifest: Manifest) -> list[str]:
    """Of the files in a bundle, what the page fetches."""
    facts = manifest.decoder
    assert facts is not None
    return [
        "manifest.json", *(m.file for m in manifest.modules), *(w.file for w in facts.weight_files),
        *([facts.tokenizer] if facts.tokenizer else []),
    ]  # fmt: skip


def _described(manifest: Manifest, folder: str) -> dict[str, object]:
    facts = manifest.decoder
    assert facts is not None
    kept = f"{facts.method} at {100 * facts.sparsity:.0f}%" if facts.method else "dense"
    return {
        "name": manifest.name, "folder": folder, "sparse": bool(facts.method), "bytes": manifest.weights_bytes,
        "about": f"{facts.blocks} blocks, {facts.weights} weights, context {facts.context}, {kept}",
    }  # fmt: skip
