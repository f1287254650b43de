"""More epochs after the end of a run, and more samples into a finished file."""

import json
import shutil

import pytest

from evaluation import pass_at_k
from models.registry import TINY_FOLDER, NoWeights
from tests.after_run import refused, same_weights, sample, samples, train

LONGER = "--mode w-reinforce --vlm-name tiny --subset-size 8 --held-out 0.1"


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    assert train(root, LONGER, "--num-epochs", 2) == 0
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(["--num-epochs", 1], ["--num-epochs", 2], id="an epoch"),
        pytest.param(["--max-steps", 3], ["--num-epochs", 2], id="amid a rollout batch"),
    ],
)
def test_a_finished_run_that_goes_on_ends_as_the_longer_one_bit_for_bit(two_epochs, first, then, tmp_path, capsys):
    assert train(tmp_path, LONGER, *first) == 0
    error = refused(capsys, train(tmp_path, LONGER, *first))
    assert error.index("--resume") < error.index("--overwrite"), "what keeps the run is named first"
    assert train(tmp_path, LONGER, *then, "--resume") == 0
    same_weights(tmp_path, two_epochs)
    steps = [
        {(entry["step"], entry["loss"], entry["entropy"]) for entry in log if "loss" in entry}
        for log in (
            json.loads(next(root.glob("*/trainer_state.json")).read_text())["log_history"]
            for root in (tmp_path, two_epochs)
        )
    ]
    assert steps[0] == steps[1] and len(steps[0]) == 8
    assert json.loads(next(tmp_path.glob("*/training_settings.json")).read_text())["finished"] is True


def test_a_run_that_has_got_as_far_already_says_how_far(two_epochs, capsys):
    for length in (["--num-epochs", 2], ["--num-epochs", 1], ["--max-steps", 5]):
        error = refused(capsys, train(two_epochs, LONGER, *length, "--resume"))
        assert "is finished for 8 updates, 2 epochs" in error and "--overwrite" not in error


def test_other_settings_than_its_length_still_end_a_run(two_epochs, capsys):
    error = refused(capsys, train(two_epochs, LONGER, "--num-epochs", 3, "--resume", "--temperature", 0.5))
    assert "temperature: 1.0 -> 0.5" in error and "num_epochs" not in error


def test_a_run_ended_by_a_collapse_is_trained_further_as_a_second_stage(two_epochs, tmp_path, capsys):
    shutil.copytree(two_epochs, tmp_path / "runs")
    (settings,) = (tmp_path / "runs").glob("*/training_settings.json")
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "collapsed": "entropy has doubled"}))
    error = refused(capsys, train(tmp_path / "runs", LONGER, "--num-epochs", 3, "--resume"))
    assert "--stop-on-collapse" in error and "--vlm-name" in error


def test_a_finished_run_stays_finished_where_the_model_of_a_longer_one_cannot_be_loaded(
    two_epochs, tmp_path, monkeypatch, capsys
):
    def no_weights(*_):
        raise NoWeights("the hub does not answer")

    shutil.copytree(two_epochs, tmp_path / "runs")
    (run,) = (tmp_path / "runs").iterdir()
    monkeypatch.setattr("training.run.build_trainer", no_weights)
    assert "does not answer" in refused(capsys, train(tmp_path / "runs", LONGER, "--num-epochs", 3, "--resume"))
    assert sample(run, tmp_path / "s.json") == 0


def test_the_old_result_is_not_taken_for_that_of_a_run_which_goes_on(two_epochs, tmp_path, capsys):
    shutil.copytree(two_epochs, tmp_path / "runs")
    (settings,) = (tmp_path / "runs").glob("*/training_settings.json")
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "finished": False}))
    error = refused(capsys, sample(settings.parent, tmp_path / "s.json"))
    assert "is not finished" in error and "checkpoint-8" in error
    assert sample(settings.parent / "checkpoint-8", tmp_path / "s.json") == 0


@pytest.mark.slow
def test_measuring_changes_no_update(two_epochs, tmp_path):
    assert train(tmp_path, LONGER, "--num-epochs", 2, "--eval-steps", 3) == 0
    same_weights(tmp_path, two_epochs)


# -- more samples -----------------------------------------------------------------------------------------------------


def drawn(output, problems, number, *more) -> int:
    return sample("tiny", output, "--subset-size", problems, "--num-samples", number, *more)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("at_once")
    for suffix in ("json", "jsonl"):
        assert drawn(folder / f"s.{suffix}", 4, 16) == 0
    return folder


@pytest.mark.parametrize(
    ("suffix", "steps"),
    [("json", [(4, 8), (4, 16)]), ("json", [(2, 16), (4, 16)]), ("jsonl", [(2, 3), (3, 8), (4, 16)])],
)
def test_samples_and_problems_that_are_added_are_those_of_one_job(at_once, suffix, steps, tmp_path):
    output = tmp_path / f"s.{suffix}"
    for problems, number in steps:
        assert drawn(output, problems, number) == 0
    assert output.read_bytes() == (at_once / output.name).read_bytes()
    assert (suffix == "jsonl") or (tmp_path / "s.settings.json").read_text() == (
        at_once / "s.settings.json"
    ).read_text()


def test_a_file_from_before_settings_said_what_marks_the_answers_is_added_to(at_once, tmp_path, capsys):
    shutil.copytree(at_once, tmp_path, dirs_exist_ok=True)
    output, settings = tmp_path / "s.json", tmp_path / "s.settings.json"
    older = json.loads(settings.read_text())
    del older["data"]["marked_by"]
    settings.write_text(json.dumps(older))
    assert "finished already" in refused(capsys, drawn(output, 4, 16))
    assert drawn(output, 4, 17) == 0
    assert [texts[:16] for texts in samples(output)] == samples(at_once / "s.json")


def test_shards_add_to_a_finished_file_and_the_last_one_replaces_it(at_once, tmp_path):
    output = tmp_path / "s.json"
    assert drawn(output, 4, 8) == 0
    before = output.read_bytes()
    assert drawn(output, 4, 16, "--shard", "2/2") == 0
    assert output.read_bytes() == before, "whole until all is there"
    assert drawn(output, 4, 16, "--shard", "2/2") == 0, "and again, with its part done"
    assert drawn(output, 4, 16, "--shard", "1/2") == 0
    assert output.read_bytes() == (at_once / "s.json").read_bytes()
    assert not [path for path in tmp_path.iterdir() if "journal" in path.name]


@pytest.mark.parametrize(
    ("problems", "number", "flags", "told"),
    [
        (4, 8, [], "holds 16 samples a problem, and --num-samples 8 asks for fewer"),
        (3, 16, [], "1 problems that are not asked for"),
        (4, 16, [], "finished already: ask for more (--num-samples"),
        (4, 32, ["--temperature", "0.5"], "sampling.temperature: 1.0 -> 0.5"),
        (4, 32, ["--seed", "3"], "sampling.seed: 2025 -> 3"),
        (4, 32, ["--merge"], "4 of 4 problems are not sampled yet"),
    ],
)
def test_a_finished_file_that_cannot_be_added_to_is_left_as_it_is(
    at_once, problems, number, flags, told, tmp_path, capsys
):
    shutil.copytree(at_once, tmp_path, dirs_exist_ok=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert told in refused(capsys, drawn(tmp_path / "s.json", problems, number, *flags))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("spoilt", ["no settings", "settings of another job", "another question"])
def test_nothing_is_added_to_a_file_that_is_not_what_its_settings_say(at_once, spoilt, tmp_path, capsys):
    shutil.copytree(at_once, tmp_path, dirs_exist_ok=True)
    settings, output = tmp_path / "s.settings.json", tmp_path / "s.json"
    if spoilt == "no settings":
        settings.unlink()
    elif spoilt == "settings of another job":
        settings.write_text(json.dumps({**json.loads(settings.read_text()), "run": "0" * 16}))
    else:
        entries = json.loads(output.read_text())
        entries[1]["question"] = "Another one?"
        output.write_text(json.dumps(entries))
    before = output.read_bytes()
    error = refused(capsys, drawn(output, 4, 32))
    assert ("read differently" if spoilt == "another question" else "nothing can be added") in error
    assert output.read_bytes() == before


def test_a_model_folder_that_has_moved_is_the_same_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(TINY_FOLDER, "models/mine")
    output = tmp_path / "s.jsonl"
    assert sample("models/mine", output) == 0
    head, *problems = map(json.loads, output.read_text().splitlines())
    assert head["settings"]["model"]["name"] == "mine"
    # as an older version has begun it: with the path as it was typed, and another number of the run
    head["settings"]["model"]["name"], head["settings"]["run"], problems[0]["run"] = "models/mine", "0" * 16, "0" * 16
    journal = tmp_path / "s.jsonl.journal"
    journal.write_text("".join(json.dumps(one) + "\n" for one in (head, problems[0])))
    output.unlink()
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    assert sample("./elsewhere/mine/", output) == 0
    assert {one["run"] for one in map(json.loads, output.read_text().splitlines()[1:])} == {"0" * 16}
    (tmp_path / "elsewhere" / "mine").rename(tmp_path / "yours")
    assert sample(tmp_path / "yours", output, "--num-samples", 4) == 0
    assert pass_at_k.main(["--samples-path", str(output)]) == 0


def both(folder, *more) -> int:
    """Samples of two data sets by one command."""
    sets = ["--dataset-name", "synthetic", "procedures"]
    return sample("tiny", folder / "s_{dataset}.jsonl", *sets, *more)


def test_a_command_over_several_sets_goes_on_with_those_that_are_not_finished(tmp_path, capsys):
    assert both(tmp_path) == 0
    first, second = tmp_path / "s_synthetic.jsonl", tmp_path / "s_procedures.jsonl"
    whole, kept, stamp = second.read_bytes(), first.read_bytes(), first.stat().st_mtime_ns
    second.rename(tmp_path / "s_procedures.jsonl.journal").write_bytes(b"".join(whole.splitlines(True)[:2]))
    capsys.readouterr()
    assert both(tmp_path) == 0
    said = capsys.readouterr().out
    assert f"{first} is finished already" in said and "1 of 2 problems to sample" in said
    assert second.read_bytes() == whole and (first.read_bytes(), first.stat().st_mtime_ns) == (kept, stamp)
    assert both(tmp_path, "--num-samples", 4) == 0
    assert first.read_bytes() != kept


def test_a_file_in_the_way_of_a_later_set_is_told_before_the_first_is_sampled(tmp_path, capsys):
    assert sample("tiny", tmp_path / "s_procedures.jsonl", "--dataset-name", "procedures", "--seed", 3) == 0
    assert "sampling.seed: 3 -> 2025" in refused(capsys, both(tmp_path))
    assert not list(tmp_path.glob("s_synthetic*"))


def test_the_stock_backend_adds_problems_but_no_samples(tmp_path, capsys):
    output = tmp_path / "s.json"
    assert drawn(output, 1, 2, "--backend", "generate") == 0
    assert "--backend generate" in refused(capsys, drawn(output, 1, 3, "--backend", "generate"))
    assert drawn(output, 2, 2, "--backend", "generate") == 0
    assert [len(texts) for texts in samples(output)] == [2, 2]
