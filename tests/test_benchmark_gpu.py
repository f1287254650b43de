"""benchmarks/gpu.py at its smallest size on the CPU: every part runs, and its figures are those it promises."""

import contextlib
import json
import time

import pytest

from benchmarks import gpu


@pytest.mark.slow
def test_every_part_is_measured_beside_its_floor_and_drawn(tmp_path, capsys):
    file, picture = tmp_path / "gpu.json", tmp_path / "gpu.png"
    line = ["--size", "tiny", "--device", "cpu", "--json", str(file)]
    assert gpu.main(line) == 0
    found = json.loads(file.read_text())
    names = [f"{one['part']}: {one['name']}" for one in found["figures"]]
    parts = {one["part"] for one in found["figures"]}
    assert parts == {"machine", "decode", "prefill", "sampling", "ours", "stock TRL"}
    for rows in gpu.SIZES["tiny"].rows:
        assert {f"decode: {rows} rows, no adapter", f"decode: {rows} rows, LoRA"} <= set(names)
    for one in found["figures"]:
        assert one["value"] > 0 and (one["part"] == "machine") == (one["floor"] is None), one
    out = capsys.readouterr().out
    assert all(name in out for name in names) and "times generate" in out
    values = {(one["part"], one["name"]): one for one in found["figures"]}
    for what in ("update", "rollout", "whole step"):
        name = f"{what} of 4 completions, batch 2"
        stock, ours = values["stock TRL", name], values["ours", name]
        assert stock["times ours"] == stock["value"] / ours["value"] and "times ours" not in ours
    assert gpu.main(["--from-json", str(file), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_no_part_is_begun_when_time_is_up(capsys):
    assert gpu.main(["--size", "tiny", "--device", "cpu", "--seconds", "0", "--parts", "decode", "stock"]) == 0
    assert capsys.readouterr().out.count("not begun") == 2


@pytest.mark.slow  # it waits for an alarm
def test_what_still_runs_when_the_spare_time_is_over_is_given_up(tmp_path, monkeypatch, capsys):
    """Also what goes on after every error, as decoding does; what has been measured stays."""

    def never_ends(bench):
        bench.note("decode", "so far", 1.0, "s", 0.5)
        while True:
            with contextlib.suppress(Exception):
                time.sleep(0.1)

    monkeypatch.setattr(gpu, "measure_decode", never_ends)
    monkeypatch.setattr(gpu, "SPARE", -85)
    file, picture = tmp_path / "gpu.json", tmp_path / "gpu.png"
    line = ["--size", "tiny", "--device", "cpu", "--parts", "decode", "--json", str(file), "--plot", str(picture)]
    assert gpu.main([*line, "--seconds", "100"]) == 1
    assert "s  given up: --seconds 100 and" in capsys.readouterr().out
    assert json.loads(file.read_text())["figures"] and picture.exists()


def test_a_part_that_fails_costs_no_other_and_leaves_no_adapter_behind(monkeypatch, capsys):
    def fails(bench, model, rows, kind):
        if kind == "LoRA":
            raise RuntimeError("no luck")

    adapters, prefill = [], gpu.measure_prefill

    def watched(bench):
        adapters.extend(name for name, _ in bench.model.named_modules() if "lora_" in name)
        prefill(bench)

    monkeypatch.setattr(gpu, "measure_rows", fails)
    monkeypatch.setattr(gpu, "measure_prefill", watched)
    assert gpu.main(["--size", "tiny", "--device", "cpu", "--parts", "decode", "prefill"]) == 1
    out = capsys.readouterr().out
    assert "decode: failed" in out and "no luck" in out and "prefill: 2 prompts" in out and not adapters
