"""What the commands of cli_reports print: a table, or with ``json`` one document with the same facts and more."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.evaluate import Beside, Evaluation, Score
from edgesparse.report import kilobytes, note, print_json, print_table, short, warn
from edgesparse.size import SizeReport

if TYPE_CHECKING:
    from edgesparse.report_bundle import Report
    from edgesparse.sparsity.sweep import Sweep

SIGNIFICANT = 0.05


def evaluation(data: Path, found: Evaluation, json: bool) -> None:
    if json:
        return print_json({"data": str(data), **dataclasses.asdict(found)})
    alone = found.against is None or found.metric == "agreement"
    scores = [found.score] if alone or found.against is None else [found.against.other, found.score]
    for score in scores:
        if score.undefined:
            warn(f"{score.model}: {score.undefined} samples have NaN among their scores; counted as wrong")
    top1 = found.metric == "top1"
    rows = [
        (
            s.model, f"{100 * s.value:.1f}%" if s.right is not None else f"{s.value:.4g}",
            "" if s.right is None else f"{s.right} of {found.samples}",
            "" if s.standard_error is None else f"{100 * s.standard_error:.1f}", s.ece,
        )
        for s in scores
    ]  # fmt: skip
    columns = ("model", found.metric, "right" if top1 else "same" if scores[0].right is not None else "", "+-", "ECE")
    print_table(f"{data}: {found.samples} samples", columns, rows)
    if top1:
        note(f"+- is the standard error in points; ECE over 15 bins, {_assumed(scores)}")
    if found.against is not None:
        _beside(found, found.against)
    return None


def _assumed(scores: list[Score]) -> str:
    texts = {"probabilities": "of outputs that sum to 1", "logits": "with softmax, for outputs do not sum to 1"}
    kinds = dict.fromkeys(s.scores for s in scores)
    return texts[next(iter(kinds))] if len(kinds) == 1 else "; ".join(f"{s.model}: {texts[s.scores]}" for s in scores)


def _beside(found: Evaluation, b: Beside) -> None:
    if b.difference is not None and b.standard_error is not None:
        chance = f"; McNemar's p {b.p_value:.2g}" if b.p_value is not None else ""
        print(
            f"difference {100 * b.difference:+.1f} points, standard error of the pairs {100 * b.standard_error:.1f}: "
            f"{b.gained} samples are right only with {found.score.model}, {b.lost} only with {b.other.model}{chance}"
            f"{', no evidence of a difference' if (b.p_value or 0) > SIGNIFICANT else ''}"
        )
    elif b.difference is not None:
        print(f"difference {b.difference:+.4g}")
    if b.agree is not None:
        print(f"same answer as {b.other.model} on {b.agree} of {found.samples} samples ({b.agree / found.samples:.1%})")
    if b.max_abs is not None:
        print(
            f"largest error of an output {b.max_abs:.3g}, relative to the largest output of its sample {b.max_rel:.3g}"
        )


def sizes(path: Path, found: SizeReport, json: bool) -> None:
    if json:
        document = {**dataclasses.asdict(found), "layers": [_with_total(x) for x in found.layers]}
        totals = {"total": found.total, "dense": found.dense, "dense_gzip": found.dense_gzip}
        return print_json({"model": str(path), **document, **totals})
    rows = [
        (
            short(x.layer), x.kernel, f"{x.pattern} {100 * x.zero_share:.0f}%" if x.pattern else "", x.values, x.zeros,
            x.indices, x.bias, x.padding, x.total, x.dense, x.dense_gzip, f"{x.total / x.dense:.2f}" if x.dense else "",
        )
        for x in found.layers
    ]  # fmt: skip
    sums = [sum(getattr(x, k) for x in found.layers) for k in ("values", "zeros", "indices", "bias", "padding")]
    share = f"{found.total / found.dense:.2f}" if found.dense else ""
    rows.append(("all", "", "", *sums, found.total, found.dense, found.dense_gzip, share))
    columns = (
        "layer", "kernel", "zeros", "values", "of these 0", "indices", "bias", "padding", "bytes", "dense f32",
        "dense+gzip", "of dense",
    )  # fmt: skip
    print_table(f"{path} on {found.device}, {found.precision}: bytes of weights.bin", columns, rows)
    print(
        f"{kilobytes(found.total)}, gzip makes {kilobytes(found.weights_gzip)} of it; as dense f32 "
        f"{kilobytes(found.dense)}, with gzip {kilobytes(found.dense_gzip)}"
    )
    if found.precision != "f32":
        note("dense f32 is made of weights that were rounded to halves, which gzip packs better")
    return None


def sweep(path: Path, found: Sweep, plot: Path | None, json: bool) -> None:
    if json:
        facts = {"model": str(path), "plot": None if plot is None else str(plot)}
        return print_json({**facts, **dataclasses.asdict(found)})
    points = {(c.pattern, c.method): {p.sparsity: p for p in c.points} for c in found.curves}
    lines = {key: line for key, line in points.items() if len(line) > 1}
    grid = sorted({s for line in lines.values() for s in line})
    share = found.metric in ("top1", "agreement")

    def value(number: float) -> str:
        return f"{100 * number:.1f}" if share else f"{number:.4g}"

    title = f"{path}: {found.metric}{' in %' if share else ''} of {found.samples} samples over sparsity, one shot"
    if lines:
        rows = [(f"{s:g}", *(value(line[s].value) for line in lines.values())) for s in grid]
        print_table(title, ("sparsity", *(" ".join(key) for key in lines)), rows)
        summary = [
            (c.pattern, c.method, c.s_1pct, c.s_knee, c.points[-1].ece, c.points[-1].relative_error)
            for c in found.curves
            if len(c.points) > 1
        ]
        last = f"at {grid[-1]:g}"
        columns = ("pattern", "method", "1% point", "knee", f"ECE {last}", f"rel. output error {last}")
        print_table("", columns, summary)
    fixed = [
        (p, m, f"{s:g}", value(x.value)) for (p, m), line in points.items() if len(line) == 1 for s, x in line.items()
    ]
    if fixed:
        print_table("patterns of one sparsity", ("pattern", "method", "sparsity", found.metric), fixed)
    if found.standard_error:
        ece = "" if found.dense_ece is None else f", ECE {found.dense_ece:.4f}"
        print(f"dense: {value(found.dense)}, standard error {100 * found.standard_error:.1f}{ece}")
    if plot is not None:
        print(f"wrote {plot}")
    return None


def _with_total(layer: object) -> dict[str, object]:
    return {**dataclasses.asdict(layer), "total": layer.total}  # type: ignore[call-overload, attr-defined]


def collected(path: Path, found: Report, json: bool) -> None:
    if json:
        steps = [dataclasses.asdict(step) for step in found.steps]
        return print_json({"file": str(path), "failed": found.failed, "steps": steps, "files": list(found.files)})
    rows = [
        (
            s.what,
            "failed" if s.error else "ok",
            round(s.seconds, 2),
            (s.error or s.result).strip().partition("\n")[0][:60],
        )
        for s in found.steps
    ]
    print_table("", ("step", "", "s", ""), rows)
    print(
        f"wrote {path}: {', '.join(found.files)}. It holds no weights and no samples; look through it, and attach it."
    )
    return None
