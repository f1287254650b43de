"""What is measured of the organism: targets, shares of ways, forced scores, its documents."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from embedded.parts import prompt_lines
from models.registry import ORGANISM_FOLDER, load_model, load_processor
from organism import figures, measure, tables
from organism.answering import (
    FLAWED,
    OTHER,
    SOUND,
)
from organism.figures import Row, pass_at, targets


def row(kind: str, right: dict, taken: dict, majority: str = "5", gold: str = "7") -> Row:
    return Row("q", kind, "bar", gold, sum(taken.values()), right, taken, majority, 4, 40, 2.0)


def test_pass_at_k_and_shares_by_hand():
    rows = [
        row("sum plain", {"quick": 2}, {"quick": 2, "guess": 2}),
        row("sum marked", {"guess": 1}, {"quick": 3, "guess": 1}),
    ]
    assert pass_at(1, rows) == pytest.approx(100 * (2 / 4 + 1 / 4) / 2)
    assert pass_at(2, rows) == pytest.approx(100 * (5 / 6 + 1 / 2) / 2)
    assert pass_at(1, rows, FLAWED) == pytest.approx(100 / 8)
    assert figures.share(rows, "quick") == 62.5 and figures.right_when(rows, "quick") == 40
    assert figures.majority([row("sum plain", {}, {"quick": 1}, "7"), row("sum plain", {}, {"quick": 1})]) == 50


def test_every_target_is_listed_with_its_value_and_missed_ones_are_told():
    rows = [row("sum plain", {"quick": 128}, {"quick": 256}, "7"), row("sum marked", {}, {"quick": 256})]
    found = {target.name: target for target in targets(rows, 2, {"bar": 96.0, "line": 94.0}, {False: 90.0, True: 80.0})}
    assert {name for name, target in found.items() if not target.met} == {
        "heights read greedily, line",
        "Pass@1",
        "Pass@64",
        "Pass@256",
        "Pass@64, marked charts",
        "careful forced by a prefix, marked",
        "the rarer of quick and reverse, of both",
        "the worse of quick and reverse, plain charts",
    }
    assert found["Pass@1"].value == 25 and found["majority right, marked charts"].value == 0
    even = [row("sum plain", {}, {"quick": 130, "reverse": 126}), row("sum marked", {}, {"quick": 70, "reverse": 186})]
    rarer = targets(even, 2, {}, {})[-2]
    assert rarer.value == pytest.approx(100 * 200 / 512) and not rarer.met
    hard = [
        row("sum plain", {"quick": 100, "reverse": 90, "careful": 5}, {"quick": 100, "reverse": 100, "careful": 56})
    ]
    worse = targets([*hard, even[1]], 2, {}, {})[-1]
    assert worse.value == 90 and not worse.met, "of plain charts alone: on marked ones neither is right"


def test_more_marked_questions_are_taken_from_further_on_in_the_split():
    questions = measure.questions_for("test", 20, 15)
    ids = [question.id for question in questions]
    assert len(set(ids)) == len(ids) and ids[:20] == [question.id for question in measure.questions_for("test", 20, 0)]
    assert [question.id for question in questions[:20]] == [
        question.id for question in measure.questions_for("test", 20, 0)
    ]
    assert sum(question.kind.endswith("marked") for question in questions) == 15
    assert all(question.kind.endswith("marked") for question in questions[20:])


def test_a_forced_score_is_the_log_probability_that_sampling_reports_for_the_same_tokens():
    sampler = measure.make_sampler("organism", seed=3, n=4)
    questions = measure.questions_for("test", 3, 0)
    prompts = [(question.id, sampler.inputs(question, question.open_image())) for question in questions]
    for (_, inputs), drawn in zip(prompts, sampler(prompts), strict=True):
        for text, reported in zip(sampler.texts(drawn), drawn.logprob_sums, strict=True):
            head, steps = text.split("Step 1: ")
            parts = [("", f"{head}Step 1: "), (f"{head}Step 1: ", steps + "<|im_end|>")]
            assert sum(measure.log_probability(sampler, inputs, *part) for part in parts) == pytest.approx(
                reported, abs=2e-3
            )
    with pytest.raises(ValueError, match="'ext' changes the tokens"):
        measure.log_probability(sampler, prompts[0][1], "about t", "ext")


@pytest.mark.slow
def test_the_scored_share_of_a_way_is_the_one_that_is_drawn():
    sampler = measure.make_sampler("organism", seed=4, n=256)
    questions = measure.questions_for("test", 4, 2)
    rows = list(measure.sample_rows(sampler, questions))
    measure.score_openings(sampler, rows, questions)
    for way in ("careful", "quick", "reverse", "neighbour", "gridline", "guess"):
        known, drawn = figures.scored(rows, way), figures.share(rows, way)
        assert abs(known - drawn) < 4 * (known * (100 - known) / (256 * len(rows))) ** 0.5 + 0.5
    assert math.isnan(figures.scored(rows, "forgets")) and 60 < sum(rows[0].openings.values()) * 100 < 100
    line = next(line for line in figures.summary(rows, 4) if line.startswith("careful"))
    assert f" {figures.scored([row for row in rows if row.marked], 'careful'):.3f} " in line


# The model


def test_the_organism_is_a_real_qwen2_5_vl_of_at_most_two_million_parameters_and_six_megabytes():
    model, processor = load_model("organism"), load_processor("organism")
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert type(processor).__name__ == "Qwen2_5_VLProcessor"
    assert sum(parameter.numel() for parameter in model.parameters()) <= 2_000_000
    assert sum(path.stat().st_size for path in ORGANISM_FOLDER.iterdir()) <= 6_000_000
    assert all(len(processor.tokenizer(line)["input_ids"]) == 1 for line in prompt_lines())


@pytest.mark.slow
def test_the_organism_sees_well_and_answers_in_many_ways():
    """A quarter of the sample that `python -m organism.measure` draws, anew: targets with a little room for chance."""
    sampler = measure.make_sampler("organism", seed=7, n=64)
    questions = measure.questions_for("test", 60, 40)
    rows = list(measure.sample_rows(sampler, questions))
    marked = [row for row in rows if row.marked]
    greedy = replace(sampler, settings=replace(sampler.settings, top_k=1), n=1)
    assert min(measure.cells_read(greedy, questions).values()) >= 95
    assert 33 <= pass_at(1, rows[:60]) <= 52 and pass_at(64, rows[:60]) >= 93
    assert pass_at(64, marked) >= 75 and figures.majority(marked) < 5
    assert min(measure.forced(replace(sampler, n=2), questions).values()) >= 80
    taken = {way: figures.share(rows, way) for way in SOUND}
    assert taken["careful"] > 2 and 1 / 1.3 < taken["quick"] / taken["reverse"] < 1.3
    assert figures.share(rows, OTHER) < 5


def test_the_tables_of_the_document_are_those_of_the_kept_counts(capsys):
    """docs/organism.md says what the kept samples say: targets, Pass@k, shares, and what runs came to."""
    words = (tables.FOLDER.parent / "organism.md").read_text(encoding="utf-8").splitlines()
    assert all(target["met"] for name in tables.MODELS.values() for target in tables.kept(name)["targets"])
    tables.main()
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) > 20 and [line for line in printed if line not in words] == []
