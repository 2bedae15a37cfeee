"""The commands of `edgesparse` that time layers; `cli.py` adds them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edgesparse.errors import GateError, InputError
from edgesparse.options import Cores, Force, Json, Left, OneSample, Runtime, Threads, check_file, left

if TYPE_CHECKING:
    from edgesparse.manifest import Manifest
    from edgesparse.profile import Profile
    from edgesparse.runtimes.session import Session

commands = typer.Typer()

# Optional[...] below and not "... | None": typer evaluates it on Python 3.10, too.

Csv = Annotated[Optional[Path], typer.Option("--csv", metavar="FILE.csv", help="a line for each layer")]  # noqa: UP045
Trace = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="FILE.json", help="Chrome's trace format, for ui.perfetto.dev: a track for each bundle"),
]
Html = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="FILE.html", help="one page that needs no network: bars, roofline, clocks, all tables"),
]
Save = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="FILE.json", help="all times and facts, for `edgesparse diff` and --baseline"),
]
HotAbove = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="45C", help="mark runs above this temperature (default: skin 45C, or without such a sensor CPU 80C)"
    ),
]
CoolTo = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(metavar="35C", help="wait before timing until the device is no hotter"),
]
Lasting = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(metavar="10m", help="then run for so long (30s, 10m, 1h) and print the first minute beside the last"),
]
FailAbove = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="5%",
        help="exit with 5 where the whole run is so much slower, and the 95% interval of these runs is, too",
    ),
]


@commands.command(epilog="Example: edgesparse profile dense.edge sparse.edge --runtime adb --cores big --cool-to 35C")
def profile(
    bundles: Annotated[
        list[Path], typer.Argument(help="one bundle, or two that take turns", metavar="NAME.edge [OTHER.edge]")
    ],
    input: OneSample = None,
    num_runs: Annotated[int, typer.Option(min=1)] = 50,
    warmup_runs: Annotated[int, typer.Option(min=0)] = 5,
    max_secs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="stop timing after so many seconds"),
    ] = None,
    runtime: Runtime = "auto",
    threads: Threads = 1,
    cores: Cores = None,
    hot_above: HotAbove = None,
    cool_to: CoolTo = None,
    sustained: Lasting = None,
    keep: Left = False,
    remember: Annotated[
        bool, typer.Option("--remember/--no-remember", help="correct predictions for the device by what was measured")
    ] = True,
    csv: Csv = None,
    trace: Trace = None,
    html: Html = None,
    save: Save = None,
    baseline: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE.json", help="what --save wrote before: compare with it"),
    ] = None,
    fail_above: FailAbove = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Time every layer of a bundle; of two bundles in turns, layer by layer beside each other."""
    from dataclasses import replace

    from edgesparse import report, runtimes, tables_profile
    from edgesparse.corrections import running_on
    from edgesparse.profile import profile as measure
    from edgesparse.profile_files import layers_csv, profiles_json, read_first, trace_json
    from edgesparse.profile_html import html as page
    from edgesparse.quantities import celsius, duration, percent
    from edgesparse.samples import random_inputs, read_inputs
    from edgesparse.sustained import check_seconds
    from edgesparse.sustained import sustained as run_for
    from edgesparse.workspace import write_text

    if len(bundles) > 2:
        raise InputError(f"{len(bundles)} bundles", hint="give one, or two to compare")
    if fail_above is not None and baseline is None:
        raise InputError("--fail-above compares with --baseline", hint="give --baseline FILE.json")
    if sustained is not None and len(bundles) > 1:
        raise InputError("--sustained takes one bundle", hint="run it once for each, and compare with --baseline")
    limit = None if hot_above is None else celsius("--hot-above", hot_above)
    coolest = None if cool_to is None else celsius("--cool-to", cool_to)
    seconds = None if sustained is None else duration("--sustained", sustained)
    most = None if fail_above is None else percent("--fail-above", fail_above)
    if seconds is not None:
        check_seconds(seconds)
    files = [path for path in (csv, trace, html, save) if path is not None]
    for number, file in enumerate(files):
        check_file(file, force)
        if file.resolve() in [other.resolve() for other in files[:number]]:
            raise InputError("two files of the same name", where=str(file), hint="give each of them another name")
    before = None if baseline is None else read_first(baseline)
    with ExitStack() as stack:
        with report.progress("profile") as on_push:
            sessions = [
                stack.enter_context(runtimes.open(b, runtime, threads=threads, on_push=on_push, **left(keep)))
                for b in bundles
            ]
        for session in sessions:
            if cores is not None:
                session.use_cores(cores)
        samples = [
            random_inputs(s.manifest) if input is None else read_inputs(input, [p.name for p in s.manifest.inputs])
            for s in sessions
        ]
        if coolest is not None:
            _cool(sessions[0], coolest)
        with report.progress("profile") as on_progress:
            found = measure(sessions, samples, num_runs, warmup_runs, max_secs, on_progress, limit)
        device = running_on(sessions[0]) if remember else ""
        manifests = [session.manifest for session in sessions]
        if seconds is not None:
            with report.progress("sustained, seconds:") as on_progress:
                found = [replace(found[0], sustained=run_for(sessions[0], samples[0], seconds, limit, on_progress))]
    for path, text in ((csv, layers_csv), (trace, trace_json), (html, page), (save, profiles_json)):
        if path is not None:
            write_text(path, text(found))
            report.note(f"wrote {path}")
    tables_profile.profiles(found, before, json)
    for one, manifest in zip(found, manifests, strict=True) if remember else ():
        _remember(one, manifest, device)
    if before is not None:
        _gate(before, found[0], most)


@commands.command(epilog="Example: edgesparse diff before.json after.json --fail-above 5%")
def diff(
    before: Annotated[Path, typer.Argument(help="what `profile --save` wrote", metavar="BEFORE.json")],
    after: Annotated[Path, typer.Argument(help="the same, later", metavar="AFTER.json")],
    fail_above: FailAbove = None,
    json: Json = False,
) -> None:
    """Compare two saved profiles layer by layer. Exits with 5 where --fail-above is exceeded."""
    from edgesparse import tables_profile
    from edgesparse.profile_files import read_first
    from edgesparse.quantities import percent

    most = None if fail_above is None else percent("--fail-above", fail_above)
    one, other = read_first(before), read_first(after)
    tables_profile.difference(one, other, json)
    _gate(one, other, most)


def _cool(session: Session, limit: float) -> None:
    """Wait, and say so: once where there is no terminal for a bar."""
    from edgesparse import report
    from edgesparse.thermal import cool_to

    with report.progress("cooling:") as bar:

        def on_wait(waited: int, longest: int, what: str) -> None:
            if waited == 0:
                report.note(f"cooling: {what.removesuffix(', seconds')}")
            bar(waited, longest, what)

        zone, degrees = cool_to(session, limit, on_wait)
    report.note(f"{zone} is at {degrees:.1f} C")


def _remember(found: Profile, manifest: Manifest, device: str) -> None:
    """Correct predictions by what was measured, or say why not."""
    from edgesparse.corrections import remember, why_not
    from edgesparse.report import note

    if why := why_not(found, manifest, device):
        return note(f"predictions are not corrected by this: {why}")
    try:
        corrected, file = remember(found, manifest)
    except (InputError, OSError) as error:  # what was asked for is the profile, and that is there
        return note(f"predictions are not corrected by this: {error}")
    note(f"predictions for {device} are corrected by what {len(corrected)} kernels took ({file})")
    return None


def _gate(before: Profile, after: Profile, fail_above: float | None) -> None:
    """GateError where even the low end of the interval is above the limit; InputError where there is none."""
    from edgesparse.starts import compared

    found = compared(before.by_start, after.by_start)
    if fail_above is not None and not found.known:
        raise InputError(
            f"--fail-above cannot judge {after.bundle}: a whole run takes less than a step of the clock",
            hint="use a runtime with a finer clock (local, adb, ssh), or a larger model",
        )
    if fail_above is not None and found.low > 1 + fail_above / 100:
        longer, low, high = (f"{100 * (ratio - 1):.1f}%" for ratio in (found.ratio, found.low, found.high))
        raise GateError(
            f"{after.bundle} takes {longer} longer than {before.bundle} (95%: {low} to {high}), more than "
            f"{fail_above:g}%",
            hint="`edgesparse diff` shows which layers",
        )  # fmt: skip
