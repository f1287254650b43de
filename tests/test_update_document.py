"""docs/update.md and its picture name files and functions that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = {
    path: path.read_text()
    for room in ("update", "trainers", "sampling", "training")
    for path in ROOT.glob(f"{room}/*.py")
}


@pytest.mark.parametrize("name", ["update.md", "rollout_batch.svg"])
def test_every_file_and_function_is_there(name):
    text = (ROOT / "docs" / name).read_text()
    files = set(re.findall(r"\b[a-z_]+/[a-z_/]+\.py", text))
    assert len(files) >= 6 and all((ROOT / file).is_file() for file in files), files
    functions = re.findall(r"`(\w+)`", text) + re.findall(r"(\w+) in (?:update|trainers)/", text)
    assert {"_pack", "lay_out", "attend"} <= set(functions)
    for function in functions:
        assert any(re.search(rf"(def|class) {function}\b", code) for code in CODE.values()), function


def test_the_picture_names_no_file_without_its_room():
    text = (ROOT / "docs" / "rollout_batch.svg").read_text()
    assert not re.findall(r"(?<![\w/])\w+\.py", text)
