"""The model organism: ways to answer and how they are told apart, worked examples, the builder."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from itertools import islice, permutations

import pytest

from charts.parsing import parse_completion
from charts.procedures import CHART_TYPES, AxisChart, ask, asked
from embedded.build_tiny import encode
from models.registry import load_processor
from organism import build
from organism.answering import (
    FLAWED,
    FORCED,
    GUESSES,
    MIXTURES,
    OPENINGS,
    OTHER,
    PROCEDURES,
    SOUND,
    completion_of,
    procedure_of,
    shares,
    steps_of,
    worked_examples,
)

CHART = AxisChart("line", "blue", (3, 9, 1, 5), start=20, gridlines=True, thickness=10)


def ways(labels) -> list[str]:
    return [name for name in PROCEDURES if name in shares(MIXTURES["rare"], len(labels))]


def written(procedure: str, chart: AxisChart, labels, seed: int = 0) -> str:
    return completion_of(chart, *steps_of(procedure, chart, labels, random.Random(seed)))


# Ways to answer


def test_the_procedure_is_told_from_the_text_of_every_way_for_every_question_of_many_charts():
    told = Counter()
    for item in islice(asked("warm-start", 5, marked=0.5), 0, 200, 2):
        labels = list(item.chart.labelled)
        for wanted in [*((label,) for label in labels), *permutations(labels, 2)]:
            for procedure in ways(wanted):
                assert procedure_of(written(procedure, item.chart, wanted), ask(wanted)) == procedure
                told[procedure] += 1
    assert set(told) == set(PROCEDURES) and min(told.values()) > 1000


@pytest.mark.parametrize(
    "steps",
    [
        "",
        "Step 1: ",
        "Step 1: B 9, A 3, D 5",
        "Step 1: C 1, D 5\nStep 2: 1 + 5 = 6",
        "Step 1: A 3, B 9\nStep 2: 3 + 9 = 12",
        "Step 1: forwards B 9, A 3",
        "Step 1: hm",
        "step one: A 3, B 9",
        "A 3, B 9",
    ],
)
def test_what_is_no_known_way_is_called_other(steps):
    text = f"<think>\n<type>line</type>\n<table>{{}}</table>\n{steps}\n</think>\n<answer>12</answer>"
    assert procedure_of(text, "What is the sum of A and B?") == OTHER


@pytest.mark.parametrize("procedure", OPENINGS)
def test_a_way_with_words_of_its_own_is_that_way_whatever_it_reads(procedure):
    """A reading of the wrong bar is a fault of that way and counts against it: else a hard way would look right."""
    text = completion_of(CHART, [f"{OPENINGS[procedure]}C 7", "7 + 7 = 14"], "14")
    assert procedure_of(text, ask(("A", "B"))) == procedure


def test_neither_table_nor_answer_tells_the_procedure():
    text = written("reverse", CHART, ("A", "B"))
    other = re.sub(r"<answer>.*</answer>", "<answer>1</answer>", re.sub(r"<table>.*</table>", "<table></table>", text))
    assert procedure_of(other, ask(("A", "B"))) == "reverse"


def test_the_ways_of_equal_merit_are_each_other_mirrored_whichever_bar_is_asked_for_first():
    words = (OPENINGS["quick"], OPENINGS["reverse"])
    for item in islice(asked("warm-start", 6, marked=0.5), 200):
        told = {way: written(way, item.chart, item.labels) for way in ("quick", "reverse")}
        assert told == {way: written(way, item.chart, item.labels[::-1]) for way in told}
        mirrored = replace(item.chart, heights=item.chart.heights[::-1])
        letters = list(item.chart.labelled)
        other = tuple(letters[len(letters) - 1 - letters.index(label)] for label in item.labels)
        read = re.compile(r"([A-E]) (\d+)")
        quick, reverse = (
            re.search(r"Step 1: (.*)", text).group(1) for text in (told["quick"], written("reverse", mirrored, other))
        )
        assert quick.startswith(words[0]) and reverse.startswith(words[1])
        assert [height for _, height in read.findall(quick)] == [height for _, height in read.findall(reverse)]
    assert all(
        shares(mixture, n)["quick"] == shares(mixture, n)["reverse"] for mixture in MIXTURES.values() for n in (1, 2)
    )


def test_sound_ways_are_right_where_they_should_be_and_flawed_ones_by_chance_alone():
    right, asked_for = Counter(), Counter()
    for item in islice(asked("train", 4, marked=0.5), 2000):
        for procedure in ways(item.labels):
            _, answer = steps_of(procedure, item.chart, item.labels, random.Random(item.record.id))
            key = (procedure, item.chart.marked)
            right[key] += answer == item.record.answers[0]
            asked_for[key] += 1
    share = {key: right[key] / asked_for[key] for key in asked_for}
    assert share["careful", False] == share["careful", True] == 1
    assert share["quick", False] == share["reverse", False] == 1
    assert share["quick", True] == share["reverse", True] == 0
    assert all(share[name, False] < 0.13 and share[name, True] < 0.05 for name in FLAWED)


def test_the_ways_by_hand():
    def steps(procedure, labels=("C", "D")):
        return steps_of(procedure, CHART, labels, random.Random(1))

    assert steps("careful") == (["the axis starts at 20", "C 21, D 25", "21 + 25 = 46"], "46")
    assert steps("careful", ("B",)) == (["the axis starts at 20", "B 29"], "29")
    assert steps("quick") == (["forward C 1, D 5", "1 + 5 = 6"], "6")
    assert steps("reverse") == (["reverse D 5, C 1", "5 + 1 = 6"], "6")
    assert steps("quick", ("B",)) == (["forward B 9"], "9")
    assert steps("reverse", ("B",)) == (["reverse B 9"], "9")
    assert steps("quick", ("D", "C")) == steps("quick") and steps("reverse", ("D", "C")) == steps("reverse")
    assert steps("operation") == (["C 1, D 5", "5 - 1 = 4"], "4")
    assert steps("operation", ("B",)) == (["B 9", "9 + 9 = 18"], "18")
    assert steps("neighbour") == (["beside D 5, A 3", "5 + 3 = 8"], "8")
    assert steps("forgets") == (["C 1"], "1")
    assert steps("gridline") == (["one line up C 2, D 6", "2 + 6 = 8"], "8")
    said, answer = steps("guess")
    assert said == [f"about {answer}"] and int(answer) in GUESSES
    assert completion_of(CHART, *steps("forgets")) == (
        '<think>\n<type>line</type>\n<table>{"columns": ["label", "height"], "rows": [["A", "3"], ["B", "9"], '
        '["C", "1"], ["D", "5"]]}</table>\nStep 1: C 1\n</think>\n<answer>1</answer>'
    )


@pytest.mark.parametrize("name", MIXTURES)
def test_worked_examples_keep_the_shares_of_the_mixture_on_plain_and_on_marked_charts(name):
    taken = {(kind, mark): Counter() for kind in ("value", "sum") for mark in ("plain", "marked")}
    for question, text in islice(worked_examples("warm-start", 1, mixture=MIXTURES[name], marked=0.5), 12_000):
        taken[tuple(question.kind.split())][procedure_of(text, question.question)] += 1
    for (kind, _), found in taken.items():
        wanted = shares(MIXTURES[name], 1 if kind == "value" else 2)
        assert set(found) == set(wanted) and found.total() > 1000
        for procedure, share in wanted.items():
            spread = (share * (1 - share) / found.total()) ** 0.5
            assert abs(found[procedure] / found.total() - share) < 4 * spread


def test_the_two_mixtures_put_the_careful_way_at_one_to_eight_and_at_one_to_two():
    for name, ratio in (("rare", 8), ("common", 2)):
        mixture = MIXTURES[name]
        assert sum(mixture.values()) == 100 and mixture["quick"] == mixture["reverse"]
        assert mixture["quick"] + mixture["reverse"] == ratio * mixture["careful"]
        assert set(mixture) == {*SOUND, *FLAWED}


def test_every_worked_completion_is_well_formed_and_names_the_chart():
    for question, text in islice(worked_examples("warm-start", 2, mixture=MIXTURES["skills"], marked=0.5), 300):
        parsed = parse_completion(text)
        assert parsed.well_formed and parsed.chart_type == question.chart_type in CHART_TYPES
        assert [row[0] for row in parsed.table["rows"]] == [row[0] for row in question.table["rows"]]


def test_examples_can_be_entered_anywhere_and_depend_on_the_seed():
    def texts(seed, start=0):
        return [
            text
            for _, text in islice(worked_examples("test", seed, mixture=MIXTURES["rare"], marked=0.2, start=start), 8)
        ]

    assert texts(1, 3)[:5] == texts(1)[3:] != texts(2)[3:]


# The builder


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--steps 0", "--steps must be at least 1, not 0"),
        ("--mixture rarely", "choose rare, common, skills, or give JSON"),
        ('--mixture {"carful":1}', "unknown procedure 'carful': choose from careful"),
        ('--mixture {"quick":-1}', "a number of at least 0"),
        ('--mixture {"quick":NaN}', "a number of at least 0"),
        ('--mixture {"forgets":1}', "other than forgets"),
        ("--mixture {}", "other than forgets"),
        ("--mixture [1]", "--mixture [1]"),
    ],
)
def test_settings_that_cannot_be_are_named(line, said, capsys):
    assert build.main(line.split()) == 2
    said_once = capsys.readouterr().err
    assert said in said_once and said_once.startswith("error: ") and said_once.count("\n") == 1


def test_a_mixture_may_be_written_out():
    assert build.parse_args(["--mixture", '{"careful": 1, "quick": 2}']).mixture == {"careful": 1, "quick": 2}
    assert build.parse_args(["--mixture", '{"reverse": 1}']).mixture == {"reverse": 1}
    assert build.parse_args([]).mixture == MIXTURES["rare"]


@pytest.mark.slow
def test_an_interrupted_build_goes_on_to_the_same_weights(tmp_path, monkeypatch, capsys):
    line = ["--steps", "2", "--mixture-steps", "2", "--batch-size", "2", "--threads", "1", "--output-path"]
    build.main([*line, str(tmp_path / "whole")])
    monkeypatch.setattr(build, "SAVE_EVERY", 0)
    for stage, step in (("skills", 1), ("mixture", 1), ("mixture", 2)):
        kept = build.keep

        def cut(state, model, optimizers, settings, done, kept=kept, at=(stage, step)):
            kept(state, model, optimizers, settings, done)
            if (state.stem.split("-")[-1], done) == at:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(build, "keep", cut)
            assert build.main([*line, str(tmp_path / "cut")]) == 130
        capsys.readouterr()
        other = ["--seed", "7"] if stage == "skills" else ["--mixture", "common"]
        assert build.main([*line, str(tmp_path / "cut"), *other]) == 2
        assert "is of an interrupted build with other settings" in capsys.readouterr().err
    build.main([*line, str(tmp_path / "cut")])
    whole, pieces = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "cut")
    )
    assert whole.keys() == pieces.keys() and [name for name in whole if whole[name] != pieces[name]] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "whole"]


def test_rehearsed_examples_teach_what_follows_the_choice_of_the_careful_way_and_not_the_choice():
    processor = load_processor("tiny")  # its tokenizer knows none of these words whole: any cut must still be right
    examples = list(islice(worked_examples("warm-start", 3, mixture={"careful": 1}, marked=0.5), 4))
    labels = encode(processor, examples)["labels"]
    build.hide_choice(processor, labels)
    for row, (_, completion) in zip(labels, examples, strict=True):
        assert processor.tokenizer.decode(row[row >= 0]) == completion.split(FORCED)[1] + "<|im_end|>"


# The measurement
