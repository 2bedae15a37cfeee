"""Options, /proc/cpuinfo, medians, messages."""

from __future__ import annotations

import io
import os

import pytest

from bench import machine, networks
from bench.cases import DENSE, Case, parse_cases
from bench.command import parse_cpu
from bench.networks import parse_engines, parse_threads
from bench.rounds import Plan
from bench.summary import Summary, summarise
from bench.wire import receive, send
from edgesparse.errors import InputError


def test_cases_are_all_combinations_and_dense_ones_have_no_pattern() -> None:
    found = parse_cases("a, b", "0,0.5", "block:4X1,unstructured")
    of_a = [Case("a", DENSE, 0.0), Case("a", "block:4x1", 0.5), Case("a", "unstructured", 0.5)]
    assert found == of_a + [Case("b", c.pattern, c.sparsity) for c in of_a]


@pytest.mark.parametrize(
    ("sparsity", "patterns", "words"),
    [
        ("1", "unstructured", "'1' is not a sparsity"),
        ("nan", "unstructured", "'nan' is not a sparsity"),
        ("many", "unstructured", "'many' is not a sparsity"),
        ("0.5", "ring", "unknown pattern 'ring'"),
        (" , ", "unstructured", "--sparsity: an empty list"),
    ],
)
def test_options_that_cannot_be_read(sparsity: str, patterns: str, words: str) -> None:
    with pytest.raises(InputError, match="hint") as caught:
        parse_cases("a", sparsity, patterns)
    assert words in str(caught.value)


def test_engines_start_with_ours() -> None:
    assert parse_engines("ncnn,onnxruntime,ncnn") == ["edgesparse", "ncnn", "onnxruntime"]
    with pytest.raises(InputError, match="no engine 'abacus'\n  hint: known: deepsparse, litert, mnn, ncnn"):
        parse_engines("abacus")


def test_threads_have_a_core_each() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    assert parse_threads("1") == [1] and parse_threads(f"1,{len(allowed)}")[-1] == len(allowed)
    assert Plan(allowed[0], 1, 1, 1, 1, 1.0).cpus == (allowed[0],)
    assert sorted(Plan(allowed[0], len(allowed), 1, 1, 1, 1.0).cpus) == allowed
    for wrong in ("0", "two", str(len(allowed) + 1), "-1"):
        with pytest.raises(InputError, match="not a number of threads"):
            parse_threads(wrong)


def test_core() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    assert parse_cpu(None) == allowed[-1] and parse_cpu(allowed[0]) == allowed[0]
    with pytest.raises(InputError, match="may not run on core 99999"):
        parse_cpu(99999)


def test_errors_are_one_line_with_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert networks.main(["--json", "out.json", "--against", "abacus"]) == 2
    assert capsys.readouterr().err.startswith("error: --against: there is no engine 'abacus'\n  hint: ")


def test_summary_is_in_milliseconds() -> None:
    assert summarise([3_000_000, 1_000_000, 2_000_000, 9_000_049]) == Summary(2.5, 1.0, 9.0, 4)
    with pytest.raises(ValueError, match="no times"):
        summarise([])


def test_cpuinfo_of_x86() -> None:
    text = (
        "processor: 0\ncpu family: 25\nmodel: 1\nmodel name: AMD EPYC\nflags: fpu avx2 fma avx\n\nmodel name: other\n"
    )
    assert machine.parse_cpuinfo(text) == ("AMD EPYC (family 25, model 1)", ["avx", "avx2", "fma"])


def test_cpuinfo_of_arm() -> None:
    assert machine.parse_cpuinfo("Features\t: fp asimd asimddp\nCPU part\t: 0xd0b\n") == ("", ["asimd", "asimddp"])


def test_messages_arrive_as_sent() -> None:
    pipe = io.BytesIO()
    for message in ({"do": "time", "runs": 3}, {}):
        send(pipe, message)
    pipe.seek(0)
    assert [receive(pipe), receive(pipe), receive(pipe)] == [{"do": "time", "runs": 3}, {}, None]


@pytest.mark.parametrize("content", [b"\x05\0", b"\x05\0\0\0{}", b"MNN says hello", b"\x01\0\0\0[", b"\x02\0\0\0[]"])
def test_what_is_no_message(content: bytes) -> None:
    with pytest.raises(ValueError):
        receive(io.BytesIO(content))
