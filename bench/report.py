"""JSON lines of bench.networks -> a table and a plot a model: ``python -m bench.report out.json``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.cases import DENSE
from bench.peers import OURS
from bench.plot import svg
from bench.results import STATUS, TIMED, Result, read
from bench.table import markdown
from edgesparse.errors import EdgeSparseError

DEFAULT = Path(__file__).resolve().parent / "RESULTS.md"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("json", type=Path, nargs="+", metavar="FILE", help="what bench.networks wrote")
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT, help="plots go beside it (bench/RESULTS.md)")
    options = parser.parse_args(arguments)
    try:
        results = [result for path in options.json for result in read(path)]
        for path in write(results, options.output):
            print(f"wrote {path}")
    except EdgeSparseError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def write(results: Sequence[Result], path: Path) -> list[Path]:
    """The table at ``path`` and ``STEM-MODEL.svg`` beside it; returns what was written."""
    plots: dict[str, str] = {}
    written = []
    for model in dict.fromkeys(r.model for r in results):
        lines = _lines([r for r in results if r.model == model and r.status == TIMED])
        if lines:
            plot = path.with_name(f"{path.stem}-{model}.svg")
            dense = next((line[0.0] for (engine, _), line in lines.items() if engine == OURS and 0.0 in line), None)
            plot.write_text(svg(f"{model}: CPU time of an inference, one core, fp32", lines, dense))
            plots[model] = plot.name
            written.append(plot)
    path.write_text(markdown(results, plots))
    return [path, *written]


def one_line(result: Result) -> str:
    """For people who watch a run."""
    case = result.pattern if result.pattern == DENSE else f"{result.pattern} {result.sparsity:g}"
    head = f"{result.model} {case} {result.engine}"
    if result.cpu is None:
        return f"{head}: {STATUS[result.status]}: {result.brief}"
    c = result.cpu
    return f"{head}: {c.median_ms:.3f} ms CPU ({c.min_ms:.3f} to {c.max_ms:.3f}, {c.count} runs)"


def _lines(results: Sequence[Result]) -> dict[tuple[str, str], dict[float, float]]:
    """(engine, pattern) -> sparsity -> ms. The dense point starts every line of its engine."""
    patterns = list(dict.fromkeys(r.pattern for r in results if r.pattern != DENSE)) or [DENSE]
    lines: dict[tuple[str, str], dict[float, float]] = {}
    for r in results:
        for pattern in patterns if r.pattern == DENSE else [r.pattern]:
            if r.cpu is not None:
                lines.setdefault((r.engine, pattern), {})[r.sparsity] = r.cpu.median_ms
    return lines


if __name__ == "__main__":
    sys.exit(main())
