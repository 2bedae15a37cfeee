"""A `Profile` as files: JSON with all that is known, CSV for spreadsheets, Chrome's trace format for Perfetto."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edgesparse.errors import InputError
from edgesparse.layer_time import LayerTime
from edgesparse.profile import Profile
from edgesparse.report import note, shape_text

_PROFILES = TypeAdapter(list[Profile])
LONGEST_US = 1e12  # eleven days


def profiles_json(profiles: Sequence[Profile]) -> str:
    return _PROFILES.dump_json(list(profiles), indent=1).decode() + "\n"


def read_profiles(path: Path) -> list[Profile]:
    """What `profiles_json` wrote, at least one.

    Raises:
        InputError: no such file, or not such a file.
    """
    hint = "`edgesparse profile NAME.edge --save FILE.json` writes one"
    try:
        found = _PROFILES.validate_json(path.read_bytes())
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise InputError(f"cannot be read: {why}", where=str(path), hint=hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"no saved profile: {place}: {first['msg']}", where=str(path), hint=hint) from error
    if not found or not all(profile.run_us for profile in found):
        raise InputError("holds no timed run", where=str(path), hint=hint)
    if not all(0 <= us < LONGEST_US for profile in found for us in profile.run_us):
        raise InputError("no saved profile: run_us holds what is no time", where=str(path), hint=hint)
    for profile in found:
        if profile.starts and (min(profile.starts) < 1 or sum(profile.starts) != len(profile.run_us)):
            raise InputError("no saved profile: starts are not those of its runs", where=str(path), hint=hint)
    return found


def read_first(path: Path) -> Profile:
    """The only profile of `read_profiles`; of several the first, and says so."""
    found = read_profiles(path)
    if len(found) > 1:
        note(f"{path} holds {len(found)} profiles: it is the first that is compared, {found[0].bundle}")
    return found[0]


def layers_csv(profiles: Sequence[Profile]) -> str:
    """One line a layer of each profile, microseconds, in run order."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["bundle", "layer", "op", "inputs", "output", "pattern", "zeros", "activation_zeros", "kernel", "count",
         "median_us", "min_us", "p90_us", "std_us", "share", "cumulative", "gflops", "gbs", "of_roofline"]
    )  # fmt: skip
    for profile in profiles:
        for x in profile.layers:
            writer.writerow(
                [profile.bundle, x.name, x.op, " ".join(map(shape_text, x.inputs)), shape_text(x.output), x.pattern,
                 f"{x.zeros:.4f}", "" if x.activation_zeros is None else f"{x.activation_zeros:.4f}", x.kernel,
                 x.us.count, *(f"{v:.3f}" for v in (x.us.median, x.us.min, x.us.p90, x.us.std)),
                 f"{x.share:.4f}", f"{x.cumulative:.4f}", f"{x.gflops:.2f}", f"{x.gbs:.2f}",
                 "" if x.of_roofline is None else f"{x.of_roofline:.4f}"]
            )  # fmt: skip
    return out.getvalue()


def trace_json(profiles: Sequence[Profile]) -> str:
    """The medians of all layers one after the other, a track for each profile.

    Complete events ("ph": "X") of the Trace Event Format, timestamps in microseconds.
    """
    events: list[dict[str, object]] = []
    for number, profile in enumerate(profiles, 1):
        events.append(_named("process_name", number, profile.bundle))
        events.append(_named("thread_name", number, f"{profile.device}, median of {profile.layers_us.count} runs"))
        at = 0.0
        for x in profile.layers:
            events.append(
                {"name": x.name or x.op, "cat": x.op, "ph": "X", "ts": at, "dur": x.us.median, "pid": number, "tid": 1,
                 "args": _arguments(x)}
            )  # fmt: skip
            at += x.us.median
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}, indent=1)


def _named(what: str, number: int, name: str) -> dict[str, object]:
    return {"name": what, "ph": "M", "pid": number, "tid": 1, "args": {"name": name}}


def _arguments(x: LayerTime) -> dict[str, object]:
    return {
        "kernel": x.kernel, "pattern": x.pattern, "zeros": x.zeros,
        "activation_zeros": x.activation_zeros, "inputs": [list(s) for s in x.inputs],
        "output": list(x.output), "min_us": x.us.min, "p90_us": x.us.p90, "gflops": x.gflops, "gbs": x.gbs,
    }  # fmt: skip
