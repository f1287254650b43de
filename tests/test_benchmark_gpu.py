"""benchmarks/gpu.py at its smallest size on the CPU: every part runs, and its figures are those it promises."""

import json

from benchmarks import gpu


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
    assert gpu.main(["--from-json", str(file), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_no_part_is_begun_when_time_is_up(capsys):
    assert gpu.main(["--size", "tiny", "--device", "cpu", "--seconds", "0", "--parts", "decode", "stock"]) == 0
    assert capsys.readouterr().out.count("not begun") == 2
