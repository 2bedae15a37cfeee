"""JSON lines of benchmarks -> tables and plots: ``python -m bench.report networks.json kernels.json``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.cases import DENSE
from bench.peers import OURS
from bench.plot import svg
from bench.results import STATUS, TIMED, Result, read, read_rows
from bench.sections import is_section, pictures, section
from bench.table import markdown
from bench.wasm import table as web_table
from edgesparse.errors import EdgeSparseError

DEFAULT = Path(__file__).resolve().parent / "RESULTS.md"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("json", type=Path, nargs="+", metavar="FILE", help="what a benchmark wrote")
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT, help="plots go beside it (bench/RESULTS.md)")
    parser.add_argument("--remarks", type=Path, help="Markdown to put at the end: what is missed, and why")
    options = parser.parse_args(arguments)
    try:
        rows = {path: read_rows(path) for path in options.json}
        sections = [section(found) for found in rows.values() if is_section(found[0])]
        results = [result for path, found in rows.items() if not is_section(found[0]) for result in read(path)]
        if options.remarks:
            sections.append(options.remarks.read_text())
        written = write(results, options.output, sections)
        for found in rows.values():
            for name, picture in pictures(found).items():
                written.append(options.output.with_name(name))
                written[-1].write_text(picture)
        for path in written:
            print(f"wrote {path}")
    except EdgeSparseError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def write(results: Sequence[Result], path: Path, sections: Sequence[str] = ()) -> list[Path]:
    """The tables and then ``sections`` at ``path``, ``STEM-MODEL.svg`` beside it; returns what was written."""
    native, web = [r for r in results if not r.where], [r for r in results if r.where]
    text, written = "", [path]
    if native or not (web or sections):
        plots, pictures = _plots(native, path)
        text, written = markdown(native, plots), [*written, *pictures]
    if web:
        web_plots, pictures = _web_plots(web, path)
        text, written = text + ("\n" if text else "") + web_table.markdown(web, web_plots), [*written, *pictures]
    path.write_text("\n\n".join(part.rstrip() for part in (text, *sections) if part) + "\n")
    return written


def _plots(results: Sequence[Result], path: Path) -> tuple[dict[tuple[str, int], str], list[Path]]:
    """Model, threads -> name of its picture; and all pictures."""
    plots: dict[tuple[str, int], str] = {}
    written = []
    for model in dict.fromkeys(r.model for r in results):
        timed = [r for r in results if r.model == model and r.status == TIMED]
        for threads in sorted({r.threads for r in timed}):
            lines = _lines([r for r in timed if r.threads == threads])
            plot = path.with_name(f"{path.stem}-{model}{'' if threads == 1 else f'-{threads}threads'}.svg")
            dense = next((line[0.0] for (engine, _), line in lines.items() if engine == OURS and 0.0 in line), None)
            what = "CPU time of an inference, one core" if threads == 1 else f"time of an inference, {threads} cores"
            plot.write_text(svg(f"{model}: {what}, fp32", lines, dense))
            plots[model, threads] = plot.name
            written.append(plot)
    return plots, written


def _web_plots(results: Sequence[Result], path: Path) -> tuple[dict[tuple[str, str], str], list[Path]]:
    """Model, place -> name of its picture; and all pictures."""
    plots: dict[tuple[str, str], str] = {}
    written = []
    timed = [r for r in results if r.status == TIMED]
    for model, where in dict.fromkeys((r.model, r.where) for r in timed):
        same = [replace(r, engine=r.label) for r in timed if (r.model, r.where) == (model, where)]
        lines = _lines(same)
        dense = min(
            (line[0.0] for (name, _), line in lines.items() if name.startswith(OURS) and 0.0 in line), default=None
        )
        plot = path.with_name(f"{path.stem}-{model}-{where}.svg")
        plot.write_text(svg(f"{model} in {where}: time of an inference, one core, fp32", lines, dense))
        plots[model, where] = plot.name
        written.append(plot)
    return plots, written


def one_line(result: Result) -> str:
    """For people who watch a run."""
    case = result.pattern if result.pattern == DENSE else f"{result.pattern} {result.sparsity:g}"
    place = f" in {result.where}" if result.where else ""
    head = f"{result.model} {case} {result.label}{place}"
    c = result.clock
    if c is None:
        return f"{head}: {STATUS[result.status]}: {result.brief}"
    clock = "ms" if place else "ms CPU" if result.threads == 1 else f"ms on {result.threads} threads"
    return f"{head}: {c.median_ms:.3f} {clock} ({c.min_ms:.3f} to {c.max_ms:.3f}, {c.count} runs)"


def _lines(results: Sequence[Result]) -> dict[tuple[str, str], dict[float, float]]:
    """(engine, pattern) -> sparsity -> ms. The dense point starts every line of its engine."""
    patterns = list(dict.fromkeys(r.pattern for r in results if r.pattern != DENSE)) or [DENSE]
    lines: dict[tuple[str, str], dict[float, float]] = {}
    for r in results:
        for pattern in patterns if r.pattern == DENSE else [r.pattern]:
            if r.clock is not None:
                lines.setdefault((r.engine, pattern), {})[r.sparsity] = r.clock.median_ms
    return lines


if __name__ == "__main__":
    sys.exit(main())
