"""All files of the demo page under their addresses: what the server serves and what `edgesparse demo --export` writes.

index.html, style.css, *.mjs       pages/demo/
runtime/*.mjs                      the loader of bundles, as in every bundle
networks/ID/..                     as demo.py builds them
samples/*                          images of the user
demo.json                          what there is
service-worker.js                  in an export: COOP and COEP where the host sends none, and offline use; otherwise
                                   what ends that of an export which was at this address before
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from edgesparse.demo import DIGITS, NETWORK
from edgesparse.errors import InputError
from edgesparse.runtimes.node import LOADER
from edgesparse.version import __version__
from edgesparse.workspace import OLD, check_place, workspace

Site = Mapping[str, "Path | bytes"]
PAGES, DOCUMENT, WORKER, RETIRED = "pages/demo", "demo.json", "service-worker.js", "retired-worker.js"
LATER = "race-small"  # kept for offline use before it was looked at; larger ones are once they were
IMAGES: Mapping[bytes, str] = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif"}


def site(networks: Sequence[Path], samples: Sequence[Path] = (), *, export: bool = False) -> Site:
    """Address -> file or content. ``networks`` are folders of `demo.build`, ``samples`` images of the user.

    Raises:
        InputError: a sample that is no image.
    """
    found: dict[str, Path | bytes] = {}
    package = files("edgesparse")
    for page in (package / PAGES).iterdir():
        if page.name not in (WORKER, RETIRED):
            found[page.name] = page.read_bytes()
    for name in LOADER:
        found[f"runtime/{name}"] = (package / "runtimes/web" / name).read_bytes()
    documents = []
    for folder in networks:
        document = json.loads((folder / NETWORK).read_bytes())
        documents.append(document)
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != NETWORK):
            found[f"networks/{document['id']}/{path.relative_to(folder).as_posix()}"] = path
    images = {f"samples/{i}{_kind(path)}": path for i, path in enumerate(samples, 1)}
    found |= images
    shown = [{"file": name, "name": path.stem} for name, path in images.items()]
    document = {"edgesparse": __version__, "networks": documents, "samples": shown, "offline": export}
    found[DOCUMENT] = json.dumps(document).encode()
    if export:
        found[WORKER] = worker((package / PAGES / WORKER).read_text(), found)
    else:
        found[WORKER] = (package / PAGES / RETIRED).read_bytes()
    return found


def write_site(content: Site, out: Path, *, force: bool = False) -> None:
    """Write the site as a folder, whole or not at all; only an older site is replaced.

    Raises:
        InputError: as `check_site`; no space, no permission.
    """
    check_site(out, force=force)
    try:
        with workspace(out.absolute().parent) as scratch:
            fresh = scratch / "site"
            for name, data in content.items():
                path = fresh / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(data, bytes):
                    path.write_bytes(data)
                else:
                    shutil.copyfile(data, path)
            if force and out.exists():
                (scratch / OLD).mkdir()
                os.rename(out, scratch / OLD / out.name)
            os.rename(fresh, out)
    except OSError as error:
        raise InputError(
            f"could not be written: {error.strerror or error}", where=str(out),
            hint="free some space or choose another folder; nothing of it was left behind",
        ) from error  # fmt: skip


def check_site(out: Path, *, force: bool) -> None:
    """As `check_place`; besides, raises InputError where ``out`` is something else than a site."""
    check_place(out, force=force)
    if os.path.lexists(out) and not ((out / DOCUMENT).is_file() and (out / WORKER).is_file()):
        raise InputError("is no exported page, so it is not replaced", where=str(out), hint="choose another name")


def content_bytes(content: Site) -> int:
    """The size of all files."""
    return sum(len(data) if isinstance(data, bytes) else data.stat().st_size for data in content.values())


def worker(text: str, content: Site) -> bytes:
    """The service worker, told what to keep at once. Other content is another worker, which replaces the old one."""
    hashed = hashlib.sha256()
    for name, data in sorted(content.items()):
        hashed.update(f"{name}\0".encode())
        hashed.update(data if isinstance(data, bytes) else data.read_bytes())
    kept = [n for n in content if not n.startswith(("networks/", "models/")) or n.split("/")[1] == DIGITS]
    later = [n for n in content if n.startswith(f"networks/{LATER}/")]
    rest = [n for n in content if n not in kept and n not in later]
    text = text.replace('"%%VERSION%%"', json.dumps(hashed.hexdigest()[:24]))
    text = text.replace('["%%FILES%%"]', json.dumps(["./", *sorted(kept)]))
    text = text.replace('["%%WHEN_ASKED%%"]', json.dumps(sorted(rest)))
    return text.replace('["%%LATER%%"]', json.dumps(sorted(later))).encode()


def _kind(path: Path) -> str:
    """The suffix of an image by its first bytes. Raises InputError where it is none that browsers show."""
    hint = "give PNG, JPEG, WebP or GIF files"
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError((error.strerror or str(error)).lower(), where=str(path), hint=hint) from error
    suffix = next((s for magic, s in IMAGES.items() if start.startswith(magic)), None)
    if suffix is None:
        raise InputError("is no image that browsers show", where=str(path), hint=hint)
    return suffix
