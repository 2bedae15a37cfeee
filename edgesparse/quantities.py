"""Temperatures, times and shares as they are typed behind an option."""

from __future__ import annotations

import re

from edgesparse.errors import InputError

SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def celsius(option: str, text: str) -> float:
    """``45C``, ``45.5`` -> degrees Celsius.

    Raises:
        InputError: anything else, or nothing between 0 and 150.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:°?C)?", text.strip(), re.IGNORECASE | re.ASCII)
    if match is None or not 0 < float(match[1]) < 150:
        raise InputError(f"{option} {text!r} is no temperature", hint=f"{option} 40C: degrees Celsius below 150")
    return float(match[1])


def percent(option: str, text: str) -> float:
    """``5%``, ``2.5`` -> percent.

    Raises:
        InputError: anything else.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*%?", text.strip(), re.ASCII)
    if match is None:
        raise InputError(f"{option} {text!r} is no share", hint=f"{option} 5%")
    return float(match[1])


def duration(option: str, text: str) -> int:
    """``30s``, ``10m``, ``1h`` -> seconds.

    Raises:
        InputError: anything else, or more than a day.
    """
    match = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip().lower(), re.ASCII)
    seconds = int(match[1]) * SECONDS[match[2]] if match and match[2] in SECONDS and len(match[1]) < 9 else 0
    if not 0 < seconds <= 86_400:
        raise InputError(f"{option} {text!r} is no length of time", hint=f"{option} 30s, 10m or 1h")
    return seconds
