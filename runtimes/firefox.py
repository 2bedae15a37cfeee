"""Runs a WebAssembly bundle in Firefox, without a window."""

from __future__ import annotations

import json
from pathlib import Path

from edgesparse.manifest import Manifest
from edgesparse.runtimes import browser
from edgesparse.runtimes.program import DEFAULT_TIMEOUT_S

KINDS = ("wasm",)
# Optimised code from the start, as for node's timed runs (see chromium.py).
OPTIMISED = "javascript.options.wasm_baselinejit"
SETTINGS: dict[str, bool | int | str] = {
    OPTIMISED: False,
    # nothing but our page: no first steps, no questions, no reports, no updates
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.healthreport.uploadEnabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.type": 0,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}


def open(
    bundle: Path, manifest: Manifest, *, threads: int = 1, timeout_s: float = DEFAULT_TIMEOUT_S
) -> browser.BrowserSession:
    """Start Firefox: $FIREFOX, or the first of $PATH.

    Args:
        threads: how many run the model; 0: one for each CPU this process may use.
        timeout_s: the longest that one call may take.

    Raises:
        RuntimeFailure, InputError: as `browser.open`.
    """
    return browser.open(ENGINE, bundle, manifest, threads, timeout_s)


def options(profile: Path) -> list[str]:
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in SETTINGS.items()]
    (profile / "user.js").write_text("".join(lines))
    return ["--headless", "--no-remote", "--profile", str(profile)]


ENGINE = browser.Engine(
    name="firefox",
    title="Firefox",
    variable="FIREFOX",
    programs=("firefox", "firefox-esr"),
    install="apt-get install firefox-esr",
    agent=r"Firefox/(\d+)",
    oldest=114,
    oldest_with="workers that are modules",
    flags=f"{OPTIMISED}=false",
    options=options,
)
