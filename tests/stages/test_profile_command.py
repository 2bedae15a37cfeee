"""The commands `profile` and `diff`: gates, and what they refuse."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from edgesparse.manifest import read_manifest
from edgesparse.profile import Profile
from edgesparse.profile_files import profiles_json
from edgesparse.profile_html import html
from edgesparse.tables_profile import profiles

from .conftest import Call


def test_the_command(call: Call, bundles: dict[str, Path], tmp_path: Path) -> None:
    host = bundles["host"]
    files = ["--csv", "a.csv", "--trace", "t.json", "--save", "s.json"]
    code, out, err = call("profile", host, host, "--num-runs", "3", *files, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert len(found["profiles"]) == 2 and found["profiles"][0]["whole"]["count"] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "s.json", "t.json"]
    code, out, err = call("profile", host, "--num-runs", "3")
    assert code == 0 and "layers in run order, measured" in out and "By type" in out and "sum of layers" in out
    assert "exists" in call("profile", host, "--save", "s.json")[2]


def test_a_baseline_is_a_gate(call: Call, bundles: dict[str, Path], two: list[Profile]) -> None:
    calm = dataclasses.replace(two[0], run_us=(100.0, 101.0, 99.0, 100.0, 102.0, 98.0, 100.0), starts=(1, 1, 2, 1, 2))
    Path("same.json").write_text(profiles_json([calm]))
    for name, times in (("faster.json", 3), ("nothing.json", 1e4)):  # the latter: whatever this machine is busy with
        faster = dataclasses.replace(calm, run_us=tuple(us / times for us in calm.run_us))
        Path(name).write_text(profiles_json([faster]))
    assert call("diff", "same.json", "same.json", "--fail-above", "5")[0] == 0
    code, out, err = call("diff", "faster.json", "same.json", "--fail-above", "5")
    assert code == 5 and "3.000 times as long" in out and "more than 5%" in err
    assert call("diff", "same.json", "faster.json", "--fail-above", "0%")[0] == 0
    assert call("diff", "faster.json", "same.json", "--fail-above", "5%")[0] == 5
    for wrong in ("five", "nan", "-1", "1e400", ""):
        code, _, err = call("diff", "faster.json", "same.json", "--fail-above", wrong)
        assert code == 2 and "--fail-above 5%" in err
    code, out, _ = call("diff", "faster.json", "same.json", "--json")
    assert code == 0 and json.loads(out)["ratio"] == pytest.approx(3)
    gate = ["--baseline", "nothing.json", "--fail-above", "1"]
    code, out, err = call("profile", bundles["host"], "--num-runs", "3", *gate)
    assert code == 5 and "longer than" in err and "times as long" in out
    code, out, err = call("profile", bundles["host"], "--num-runs", "3", *gate, "--json")
    assert code == 5 and json.loads(out)["baseline"]["ratio"] > 1.01, "one document, with both"


def test_times_that_cannot_be_compared_pass_no_gate(call: Call, two: list[Profile]) -> None:
    Path("same.json").write_text(profiles_json([two[0]]))
    Path("none.json").write_text(profiles_json([dataclasses.replace(two[0], run_us=(0.0,) * 5, starts=(5,))]))
    for names in (("same.json", "none.json"), ("none.json", "same.json")):
        code, out, err = call("diff", *names, "--fail-above", "5%")
        assert code == 2 and "cannot be compared" in out and "a finer clock" in err
        code, out, _ = call("diff", *names, "--json")
        assert code == 0 and json.loads(out)["ratio"] is None
    assert "cannot be compared" in html([two[0], dataclasses.replace(two[0], run_us=(0.0,) * 5, starts=(5,))])


@pytest.mark.parametrize("starts", [(2, 2), (6,), (0, 5), (-1, 6), (3, 3)])
def test_starts_are_of_the_runs(starts: tuple[int, ...], call: Call, two: list[Profile]) -> None:
    found = dataclasses.replace(two[0], run_us=(1.0,) * 5, starts=starts)
    Path("a.json").write_text(profiles_json([found]))
    code, _, err = call("diff", "a.json", "a.json")
    assert code == 2 and "starts" in err


def test_what_is_not_comparable_is_said(call: Call, two: list[Profile]) -> None:
    one = two[0]
    others = tuple(dataclasses.replace(x, name=f"other {x.name}") for x in one.layers)
    Path("a.json").write_text(profiles_json([one]))
    Path("b.json").write_text(
        profiles_json([
            dataclasses.replace(
                one, bundle="\x1b[31mred.edge", layers=others, precision="f16", machine={**one.machine, "threads": "4"}
            ),
            one,
        ])
    )  # fmt: skip
    for option in ([], ["--json"]):
        assert "warning" not in call("diff", "a.json", "a.json", *option)[2]
        code, out, err = call("diff", "a.json", "b.json", *option)
        assert code == 0 and "\x1b" not in out + err and ("red.edge" in out) == (not option)
        for words in ("another precision: f32, then f16", "threads: 1, then 4", "no layer of the same", "2 profiles"):
            assert words in err


def test_a_database_that_cannot_be_written_costs_no_profile(
    call: Call, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("EDGESPARSE_TUNED", str(Path("file", "tuned").absolute()))
    monkeypatch.setattr("edgesparse.corrections.why_not", lambda *_: "")
    code, out, err = call("profile", bundles["host"], "--num-runs", "3")
    assert code == 0 and "By type" in out and "predictions are not corrected by this" in err and "file" in err


def test_options_that_do_not_go_together(call: Call, bundles: dict[str, Path]) -> None:
    host = bundles["host"]
    assert call("profile", host, host, host)[0] == 2
    code, _, err = call("profile", host, "--fail-above", "5")
    assert code == 2 and "--baseline" in err
    code, _, err = call("profile", host, "--csv", "x", "--html", Path("x").absolute())
    assert code == 2 and "same name" in err and not Path("x").exists()
    code, _, err = call("profile", host, "--baseline", "none.json")
    assert code == 2 and "none.json" in err


def test_emulated_times_are_called_so(call: Call, bundles: dict[str, Path], require: object) -> None:
    require("qemu-aarch64")  # type: ignore[operator]
    code, out, err = call("profile", bundles["rpi5"], "--num-runs", "2")
    assert code == 0 and "run order, emulated" in out and "says nothing about a device" in err.replace("say ", "says ")
    assert read_manifest(bundles["rpi5"]).device == "rpi5"


def test_what_is_not_counted_says_why(two: list[Profile], capsys: pytest.CaptureFixture[str]) -> None:
    profiles([dataclasses.replace(two[0], facts={"counters_error": 13, "cycles": [5]})], None, json=False)
    out = capsys.readouterr().out
    assert "instructions, cache_misses: permission denied" in out and "cycles" in out
