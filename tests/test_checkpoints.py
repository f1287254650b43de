"""A checkpoint is whole or named as damaged, and the last whole one is never deleted."""

import json

import pytest

from checkpoints.manifest import MANIFEST, STAGING, checkpoints, clear_staging, damage, keep_newest, publish

CONTENT = {"trainer_state.json": "{}", "adapter_model.safetensors": "weights", "global_step5/shard.pt": "optimiser"}


def save(folder, step, content="weights"):
    written = clear_staging(folder) / f"checkpoint-{step}"
    for name, text in CONTENT.items():
        (written / name).parent.mkdir(parents=True, exist_ok=True)
        (written / name).write_text(content if text == "weights" else text)
    publish(written, folder / f"checkpoint-{step}")
    return folder / f"checkpoint-{step}"


def test_a_published_checkpoint_is_whole_and_nothing_is_left_beside_it(tmp_path):
    checkpoint = save(tmp_path, 5)
    assert damage(checkpoint) is None and [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]
    assert set(json.loads((checkpoint / MANIFEST).read_text())["files"]) == set(CONTENT)


def test_the_same_step_saved_again_takes_the_place_of_the_old_one(tmp_path):
    save(tmp_path, 5)
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text("torn")
    checkpoint = save(tmp_path, 5, content="better weights")
    assert damage(checkpoint) is None and (checkpoint / "adapter_model.safetensors").read_text() == "better weights"


@pytest.mark.parametrize("name", [*CONTENT, MANIFEST])
def test_every_cut_and_every_flipped_bit_is_found(name, tmp_path):
    checkpoint = save(tmp_path, 5)
    whole = (checkpoint / name).read_bytes()
    for length in range(len(whole)):
        (checkpoint / name).write_bytes(whole[:length])
        assert name in damage(checkpoint), length
    for position in range(len(whole)) if name != MANIFEST else ():
        flipped = bytearray(whole)
        flipped[position] ^= 1
        (checkpoint / name).write_bytes(flipped)
        assert damage(checkpoint) == f"{name} has other content than when it was saved"
    (checkpoint / name).unlink()
    assert damage(checkpoint) == f"{name} is missing"


def test_a_manifest_of_anything_else_is_damage_and_no_exception(tmp_path):
    checkpoint = save(tmp_path, 5)
    for text in ("[]", "{}", '{"files": []}', '{"files": {"a": 1}}', '{"files": {"a": {"size": "b", "sha256": 0}}}'):
        (checkpoint / MANIFEST).write_text(text)
        assert MANIFEST in damage(checkpoint), text
    assert damage(tmp_path / "checkpoint-6") == "there is no such folder"


def test_a_crash_while_saving_leaves_no_checkpoint(tmp_path):
    save(tmp_path, 5)
    (clear_staging(tmp_path) / "checkpoint-10").mkdir()
    (tmp_path / STAGING / "checkpoint-10" / "trainer_state.json").write_text("{}")
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-5"]


def test_a_limit_never_deletes_the_last_whole_checkpoint(tmp_path):
    for step in (5, 10, 15, 20):
        save(tmp_path, step)
    for step in (15, 20):
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("torn")
    keep_newest(tmp_path, 1, set())
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-10"], "torn ones do not count"
    (tmp_path / "checkpoint-10" / MANIFEST).unlink()
    keep_newest(tmp_path, 1, set())
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-10"], "none is whole: nothing is deleted"


def test_a_limit_spares_what_was_just_saved_and_the_best(tmp_path):
    saved = {step: save(tmp_path, step) for step in (5, 10, 15, 20)}
    keep_newest(tmp_path, None, set())
    assert len(checkpoints(tmp_path)) == 4
    keep_newest(tmp_path, 1, {saved[5], saved[10]})
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-20", "checkpoint-10", "checkpoint-5"]
