"""Runs a WebAssembly bundle in Chromium or Chrome, without a window."""

from __future__ import annotations

import os
from pathlib import Path

from edgesparse.manifest import Manifest
from edgesparse.runtimes import browser
from edgesparse.runtimes.program import DEFAULT_TIMEOUT_S

KINDS = ("wasm",)
# Optimised code from the start, as for node's timed runs: beginning in the baseline compiler's code, the first
# runs of kws take up to eight times as long, and how many do depends on when the compiling thread gets a core.
OPTIMISED = "--js-flags=--no-liftoff"
FLAGS = (
    "--headless", OPTIMISED, "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
    "--no-proxy-server", "--disable-quic", "--disable-sync", "--disable-extensions", "--disable-breakpad",
    "--disable-background-networking", "--disable-component-update", "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding", "--password-store=basic", "--use-mock-keychain",
)  # fmt: skip


def open(
    bundle: Path, manifest: Manifest, *, threads: int = 1, timeout_s: float = DEFAULT_TIMEOUT_S
) -> browser.BrowserSession:
    """Start Chromium: $CHROMIUM, or the first of $PATH.

    Args:
        threads: how many run the model; 0: one for each CPU this process may use.
        timeout_s: the longest that one call may take.

    Raises:
        RuntimeFailure, InputError: as `browser.open`.
    """
    return browser.open(ENGINE, bundle, manifest, threads, timeout_s)


def options(profile: Path) -> list[str]:
    return [*FLAGS, *(["--no-sandbox"] if why_no_sandbox() else []), f"--user-data-dir={profile}"]


def why_no_sandbox() -> str:
    return "Chromium does not start with one as root" if os.geteuid() == 0 else ""


ENGINE = browser.Engine(
    name="chromium",
    title="Chromium",
    variable="CHROMIUM",
    programs=("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    install="apt-get install chromium",
    agent=r"Chrome/(\d+)",
    oldest=91,
    oldest_with="WebAssembly SIMD",
    flags=OPTIMISED,
    options=options,
    sandbox=why_no_sandbox,
)
