"""Real charts with their true tables, from a folder as a user has it: loaded, trained on, sampled, scored, shown."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest

import generate_samples
import main
from charts.loading import load_questions
from evaluation import pass_at_k, report
from rewards import build_rewards

DATA = Path(__file__).parent / "data" / "chartinsights_small"
READ = f"--dataset-name custom --dataset-path {DATA} --max-pixels 12544"
TRAIN = (
    f"--mode nsr --vlm-name tiny {READ} --rewards chart-rvr --subset-size 4 --held-out 0 --num-generations 4 "
    "--batch-size 4 --max-completion-length 48 --max-steps 1 --report-to none --output-root runs"
)
SAMPLE = f"{READ} --subset-size 4 --num-samples 4 --max-new-tokens 48"
RUN = "runs/tiny-prm-large-train-v2-nsr-2025"


@pytest.mark.parametrize(("purpose", "questions", "charts"), [("train", 252, 14), ("evaluate", 74, 5)])
def test_every_row_loads_with_its_picture_table_and_type(purpose, questions, charts):
    found = load_questions("custom", purpose=purpose, path=DATA)
    assert (len(found), len({one.image_id for one in found.questions})) == (questions, charts)
    assert (found.skipped, found.notes) == ([], [])
    assert all(one.table and one.table["columns"] and one.table["rows"] for one in found.questions)
    assert {one.chart_type for one in found.questions} <= {"common bar", "common line", "pie", "scatter"}
    assert all(min(one.open_image().size) >= 300 for one in found.questions[::20])


def test_golds_are_the_files_own_words():
    found = {purpose: load_questions("custom", purpose=purpose, path=DATA) for purpose in ("train", "evaluate")}
    kept = [one.answers[0] for part in found.values() for one in part.questions]
    written = [json.loads(line)["answer"] for file in ("train", "test") for line in (DATA / f"{file}.jsonl").open()]
    assert kept == written
    forms = Counter(
        "list" if gold[0] == "[" else "range" if " to " in gold else "percent" if gold.endswith("%") else "other"
        for gold in kept
    )
    assert min(forms.values()) >= 10, forms


def test_the_true_table_earns_the_whole_table_reward_and_another_one_less():
    question = load_questions("custom", path=DATA).questions[0]
    table = {reward.name: reward for reward in build_rewards("chart-rvr", {question.id: question})}["table"]
    other = {**question.table, "rows": question.table["rows"][1:]}
    form = "<think>\n<type>bar</type>\n<table>{}</table>\nStep 1: Read.\n</think>\n<answer>Thur</answer>"
    completions = [form.format(json.dumps(said)) for said in (question.table, other)] + ["<answer>Thur</answer>"]
    whole, part, none = table.function(None, completions, problem_id=[question.id] * 3)
    assert whole == 1.0 and 0.5 < part < 1.0 and none == 0.0


@pytest.mark.slow
def test_the_whole_way_from_a_folder_to_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(TRAIN.split()) == 0
    log = json.loads(Path(RUN, "trainer_state.json").read_text())["log_history"][0]
    assert "Table rewards: [" in capsys.readouterr().out
    assert 0 <= log["rewards/table/mean"] <= 1 and 0 <= log["rewards/chart_type/mean"] <= 1, "scored: there is a gold"
    assert log["rewards/process/mean"] is None or math.isnan(log["rewards/process/mean"]), "there is no gold reasoning"
    assert log["decomposed/unscorable"] == 0

    for name, checkpoint in (("base", "tiny"), ("nsr", RUN)):
        line = f"--checkpoint-path {checkpoint} {SAMPLE} --output-path samples_{name}.json"
        assert generate_samples.main(line.split()) == 0
    problems = {name: json.loads(Path(f"samples_{name}.json").read_text()) for name in ("base", "nsr")}
    ids = [[problem["problem_id"] for problem in part] for part in problems.values()]
    assert ids[0] == ids[1] and len(ids[0]) == 4
    for problem in problems["nsr"]:
        assert len(problem["samples"]) == problem["num_total"] == 4
        assert Path(problem["image"]).is_file()
    assert any(a["logprob"] != b["logprob"] for a, b in zip(*problems.values(), strict=True)), "the update has moved it"

    assert pass_at_k.main(["--samples-path", "samples_nsr.json", "--output-path", "results_nsr.json"]) == 0
    result = json.loads(Path("results_nsr.json").read_text())
    right = [problem["num_correct"] / 4 for problem in problems["nsr"]]
    assert result["pass_at_k"]["1"] == pytest.approx(sum(right) / 4)
    capsys.readouterr()
    assert pass_at_k.main(["--compare", "samples_nsr.json", "samples_base.json"]) == 0
    assert "NSR minus Base, 4 problems" in capsys.readouterr().out

    assert report.main(["samples_base.json", "samples_nsr.json", "--output-path", "report.html"]) == 0
    page = Path("report.html").read_text()
    assert all(json.dumps(problem["question"])[1:20] in page for problem in problems["nsr"])
