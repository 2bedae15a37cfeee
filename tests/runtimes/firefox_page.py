"""A page in Firefox that tells what a function found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgesparse.runtimes import firefox
from tests.conftest import require
from tests.web import ISOLATED, serve

LIMIT_S = 120
PAGE = """<!doctype html><title>test</title>
<script type="module">
const found = await (FUNCTION)().catch((error) => ({ error: String(error) }));
fetch(`/found/${encodeURIComponent(JSON.stringify(found))}`);
</script>
"""


def told_by_firefox(folder: Path, scratch: Path, function: str) -> Any:
    """What the JavaScript ``function`` returns in a page that is served beside the files of ``folder``, isolated."""
    (folder / "firefox.html").write_text(PAGE.replace("FUNCTION", function))
    return told_by_page(folder, scratch, "firefox.html", ISOLATED)


def told_by_page(folder: Path, scratch: Path, page: str, headers: Mapping[str, str]) -> Any:
    """What Firefox asks for beneath /found/ on the page ``page`` of ``folder``, as JSON."""
    require("firefox")
    profile = scratch / "profile"
    profile.mkdir()
    program = shutil.which(os.environ.get("FIREFOX", "firefox")) or "firefox-esr"
    with serve(folder, headers) as site:
        command = [program, *firefox.options(profile), f"{site.url}{page}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                end = time.monotonic() + LIMIT_S
                while not (told := [path for path in site.asked if path.startswith("/found/")]):
                    assert process.poll() is None and time.monotonic() < end, site.asked
                    time.sleep(0.1)
            finally:
                process.terminate()
    return json.loads(told[0].removeprefix("/found/"))
