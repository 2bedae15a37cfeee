"""Runs the cases of an operator on every kernel of every ISA and compares with the NumPy reference.

A case file is a generator under ``@kernel_test("contract", ...)``; test_softmax.py is a short example.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
import pytest

from edgesparse.kernels import ISAS, table
from edgesparse.ops import CONTRACTS
from edgesparse.select import bindings, packed
from edgesparse.types import DTYPES, Array, Binding, Kernel, Machine
from tests.kernels import machine
from tests.kernels.cases import Case, bits

EPS = float(np.finfo(np.float32).eps)
EVERYWHERE = tuple(name for name, isa in ISAS.items() if not isa.base)
BYTES = (*EVERYWHERE, "avx512vnni", "neon_dotprod")
"""Those that may have kernels of their own for weights of bytes and fewer bits."""
HALVES = ("neon", "neon_fp16")
"""The instruction sets that have kernels for f16."""
Bound = Callable[[Case, Sequence[Array]], Sequence[Array | float]]
Cases = Callable[[np.random.Generator], Iterator[Case]]

CLAIMED: set[str] = set()
"""Kernels (``op`` in the table) that some imported case file tests."""
EXECUTED: set[str] = set()
"""Symbols of kernels that ran in this process."""
SKIPPED: dict[str, str] = {}
"""ISAs that cannot run here, and why."""


def exact(case: Case, expected: Sequence[Array]) -> list[float]:
    """Bound 0: equal bits but for NaN (any NaN is equal to any other) and the sign of zero."""
    return [0.0] * len(expected)


def ulps(count: float) -> Bound:
    """``count`` units in the last place of the expected value."""
    return lambda case, expected: [count * np.spacing(np.abs(e)) for e in expected]


def sums(terms: Callable[[Case], int]) -> Bound:
    """``eps (n + 8) sum |w| |x|`` for sums of n products, in any order, then an activation.

    The activation multiplies an error by at most its steepest slope, and adds 8 eps of its argument and result.
    """

    def bound(case: Case, expected: Sequence[Array]) -> list[Array]:
        positive = [np.abs(x) if x.dtype == np.float32 else x for x in case.inputs]
        signs = {"alpha": abs(case.attrs["alpha"])} if "alpha" in case.attrs else {}
        size = case.reference(positive, act=0, **signs) if "act" in case.attrs else case.reference(positive)
        factor = EPS * ((terms(case) + 8) * steepest(case) + 8)
        return [factor * s + 8 * np.spacing(np.abs(e)) for s, e in zip(size, expected, strict=True)]

    return bound


def half_sums(terms: Callable[[Case], int]) -> Bound:
    """The same for results that are halves and may have been summed as such, at most 128 terms (ES_FOLD in spmm_f16.h).

    Errors of n roundings grow as the root of n, of which this is several times the rms; the result is rounded, too.
    """
    eps, tiny = float(np.finfo(np.float16).eps), float(np.finfo(np.float16).smallest_subnormal)

    def bound(case: Case, expected: Sequence[Array]) -> list[Array]:
        positive = [np.abs(x) if x.dtype.kind == "f" else x for x in case.inputs]
        size = case.reference(positive, act=0) if "act" in case.attrs else case.reference(positive)
        n = min(terms(case), 128)
        return [eps * ((np.sqrt(n) + 2) * steepest(case) + 2) * np.abs(s) + 2 * tiny for s in size]

    return bound


def steepest(case: Case) -> float:
    act, lo = case.attrs.get("act", 0), abs(float(case.attrs.get("lo", 0.0)))
    if act in (3, 4):  # leaky_relu, prelu: the slope may be an input
        return 1 + lo + max((float(np.abs(x).max(initial=0)) for x in case.inputs[3:]), default=0.0)
    return 1 + lo if act == 6 else 1.5


def skip_unavailable(isa: str) -> None:
    """Skip the calling test where kernels of ``isa`` cannot run; with $CI set, a missing emulator fails it."""
    reason = machine.unavailable(isa)
    if not reason:
        return
    if os.environ.get("CI") and "missing" in reason:
        pytest.fail(reason, pytrace=False)
    SKIPPED[isa] = reason
    pytest.skip(reason)


def kernel_test(
    *ops: str, bound: Bound = exact, kernels: Sequence[str] = (), isas: Sequence[str] = EVERYWHERE
) -> Callable[[Cases], Callable[[str], None]]:
    """Turn a generator of cases of the contracts ``ops`` into a test per ISA.

    The generator gets random numbers seeded by its name, the same for every ISA. ``kernels`` are the names in the
    kernel table when they differ from those of the contracts. The test has the generator as ``cases``.
    """

    def make(cases: Cases) -> Callable[[str], None]:
        name = f"{cases.__module__}::{cases.__name__}"
        CLAIMED.update(kernels or ops)

        @cache
        def prepared() -> list[tuple[Case, list[Array], list[Array]]]:
            seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
            found = []
            for case in cases(np.random.default_rng(seed)):
                expected = case.reference()
                with np.errstate(all="ignore"):
                    allowed = [np.asarray(b) for b in bound(case, expected)]
                found.append((case, expected, allowed))
            assert {case.call.op for case, _, _ in found} >= set(ops), f"no case of some of {ops}"
            return found

        @pytest.mark.parametrize("isa", isas)
        def test(isa: str) -> None:
            skip_unavailable(isa)
            _check(isa, prepared())

        test.__doc__ = cases.__doc__
        test.cases = cases  # type: ignore[attr-defined]
        return test

    return make


@dataclass(frozen=True)
class _Job:
    """One run of one case. ``alias`` maps an output to the input whose buffer it overwrites.

    ``part``: the same work as that of the job before it, cut in two; the results must have the same bits.
    """

    title: str
    stem: str
    case: Case
    expected: Sequence[Array]
    bound: Sequence[Array]
    run: machine.Run
    alias: Mapping[str, str]
    part: bool


def _check(isa: str, prepared: Sequence[tuple[Case, list[Array], list[Array]]]) -> None:
    jobs: dict[str, list[_Job]] = {}
    for case, expected, allowed in prepared:
        for job in _jobs(isa, case, expected, allowed):
            jobs.setdefault(job.stem, []).append(job)
    problems: list[str] = []
    for stem, of_stem in jobs.items():
        outcomes = machine.execute(isa, stem, [job.run for job in of_stem])
        whole: list[machine.Outcome] = []
        for job, found in zip(of_stem, outcomes, strict=False):
            EXECUTED.update(kernel.symbol for kernel, _ in job.run.calls)
            wrong = [f"{job.title}\n    {o.placement}: {text}" for o in found for text in _compare(job, o)]
            if job.part and not wrong and [o.outputs for o in found] != [o.outputs for o in whole]:
                wrong = [f"{job.title}\n    is not what begin = 0, end = all computes"]
            problems += wrong[:1]  # mostly all placements are wrong, or the one
            whole = found
    assert jobs, f"no kernel of {isa} was called"
    if problems:
        shown = "\n".join(problems[:8])
        pytest.fail(f"{len(problems)} problems on {isa}, the first:\n{shown}", pytrace=False)


def _jobs(isa: str, case: Case, expected: list[Array], allowed: list[Array]) -> Iterator[_Job]:
    """Every kernel of every binding: as a whole, cut in two where it can be, in place where that is allowed."""
    contract = CONTRACTS[case.call.op]
    for binding in map(packed, bindings(case.call, case.graph, Machine(isa))):
        for kernel in table():
            if kernel.stem != binding.stem or kernel.isa != isa:
                continue
            if any(kernel.tiles.get(k) != v for k, v in binding.tiles.items()):
                continue
            end = binding.arguments.get("end") if "end" in {name for _, name in kernel.parameters} else None
            ranges = [[(0, int(end))] if isinstance(end, int) else [(0, 0)]]
            if isinstance(end, int) and end > 1:
                ranges += [[(end // 2, end), (0, end // 2)]]
            for parts in ranges:
                run = _run(case, binding, kernel, parts, {})
                note = "" if len(parts) == 1 else f" in parts {parts}"
                title = f"{kernel.symbol}{note}: {case.label}"
                yield _Job(title, binding.stem, case, expected, allowed, run, {}, len(parts) > 1)
            for index in contract.in_place:
                alias = {case.call.outputs[0]: case.call.inputs[index]}
                one, other = (case.tensors[n] for pair in alias.items() for n in pair)
                if one.bytes == other.bytes and one.dtype == other.dtype and other.name not in case.constants:
                    run = _run(case, binding, kernel, ranges[0], alias)
                    title = f"{kernel.symbol} over input {index}: {case.label}"
                    yield _Job(title, binding.stem, case, expected, allowed, run, alias, False)


def _run(
    case: Case, binding: Binding, kernel: Kernel, parts: Sequence[tuple[int, int]], alias: Mapping[str, str]
) -> machine.Run:
    buffers: dict[str, machine.Buffer] = {}
    order: dict[str, int] = {}
    arrays = {**case.values, **binding.constants}
    overwritten = set(alias.values())

    def pointer(name: str, kind: int, size: int, data: bytes | None) -> machine.Argument:
        if name not in buffers:
            order[name] = len(buffers)
            buffers[name] = machine.Buffer(name, kind, size, data)
        return machine.Argument(order[name], True)

    def argument(kind: str, key: str) -> machine.Argument:
        value: Any = binding.arguments.get(key)
        if key == "scratch" and binding.scratch_bytes:
            return pointer("scratch", machine.SCRATCH, binding.scratch_bytes, None)
        if value is None:
            assert "*" in kind, f"{kernel.symbol}: the call gives no value for parameter {key!r}"
            return machine.Argument(0)
        if isinstance(value, str):
            value = alias.get(value, value)
            if value in arrays:
                data = np.ascontiguousarray(arrays[value]).tobytes()
                return pointer(value, machine.BOTH if value in overwritten else machine.INPUT, len(data), data)
            assert value in case.call.outputs, f"{kernel.symbol}: parameter {key!r} is the unknown tensor {value!r}"
            return pointer(value, machine.OUTPUT, case.tensors[value].bytes, None)
        if isinstance(value, tuple):
            dtype = {"int64_t": np.int64, "int32_t": np.int32, "float": np.float32}[kind.split()[1]]
            data = np.array(value, dtype).tobytes()
            return pointer(f"the array {key}", machine.INPUT, len(data), data)
        if kind == "float":
            return machine.Argument(struct.unpack("<I", np.float32(value).tobytes())[0])
        return machine.Argument(int(value))

    calls = []
    for begin, end in parts:
        split = {"begin": machine.Argument(begin), "end": machine.Argument(end)}
        given = [
            split[key] if key in split and key in binding.arguments else argument(kind, key)
            for kind, key in kernel.parameters
        ]
        calls.append((kernel, tuple(given)))
    return machine.Run(tuple(buffers.values()), tuple(calls))


def _compare(job: _Job, outcome: machine.Outcome) -> Iterator[str]:
    if outcome.problem:
        yield outcome.problem
        return
    for spec, expected, bound in zip(job.case.outputs, job.expected, job.bound, strict=True):
        data = outcome.outputs[job.alias.get(spec.name, spec.name)]
        shape = spec.buffer_shape
        actual = np.frombuffer(data, DTYPES[spec.dtype]).reshape(shape)
        wrong = _wrong(expected.reshape(shape), actual, bound)
        if spec.pitch:  # padding holds anything that is finite
            plane = prod(spec.shape[2:])
            wrong[..., plane:] = ~np.isfinite(actual[..., plane:])
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            allowed = np.broadcast_to(bound, shape)[where]
            yield (
                f"{int(wrong.sum())} of {wrong.size} elements of {spec.name} are wrong; at {where}: expected "
                f"{expected.reshape(shape)[where]!r}, got {actual[where]!r}, allowed error {allowed:.3g}"
            )


def _wrong(expected: Array, actual: Array, bound: Array) -> Array:
    if expected.dtype.kind != "f":
        return np.asarray(bits(actual) != bits(expected.astype(actual.dtype)))
    with np.errstate(all="ignore"):
        error = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
        # A bound that is not finite comes from infinities among the operands: the result may be any finite number.
        close = np.isfinite(actual) & np.isfinite(expected) & ((error <= bound) | ~np.isfinite(bound))
        return np.asarray(~((actual == expected) | (np.isnan(actual) & np.isnan(expected)) | close))
