"""A set that nobody has written an adapter for: named, read by flags, asked by a template, shown, trained, sampled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import datasets
import pytest

import generate_samples
import main
from charts.answers import grade
from charts.choices import accepted_choice, read_choices
from charts.custom import read_custom
from charts.loading import load_questions
from charts.named import file_name, find_set, is_here, same_set
from charts.own_columns import Columns
from charts.prompt import PROMPTS, doubt, form_of, messages, of_record, prompt_hash, prompt_record, read_template
from charts.record import ChartQuestion
from checkpoints import finding
from evaluation import pass_at_k
from examples import quiz
from settings.arguments import parse_args
from tests.chart_copies import chart, png

ROOT = Path(__file__).parent.parent
COLUMNS = Columns(image_column="pic", question_column="ask", answer_column="gold")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


def rows_of(count: int, first: int = 0, **more) -> list[dict]:
    """Rows with columns of their own; `question` and `answer` stand there too and mean something else."""
    other = {"question": "another", "answer": "other", "messages": []}
    return [
        {"pic": f"{i}.png", "ask": f"How high is {i}?", "gold": i, **other, **more} for i in range(first, first + count)
    ]


def write(folder: Path, rows: list[dict], name: str = "train.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    for row in rows:
        if isinstance(row.get("pic"), str):
            (folder / row["pic"]).write_bytes(png(int(row["pic"].removesuffix(".png"))))
    (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return folder


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found", "split", "hub"),
    [
        ("chartqa", "chartqa", None, None),
        ("chartqa@val", "chartqa", "val", None),
        ("org/set", "org/set", None, ("org/set", None)),
        ("org/set@dev", "org/set", "dev", ("org/set", None)),
        ("org/my.set:part@train", "org/my.set", "train", ("org/my.set", "part")),
        ("mine@validation", "mine", "validation", (None, None)),
        ("./mine", "mine", None, (None, None)),
        ("rows.jsonl", "rows", None, (None, None)),
        ("a@b", "a@b", None, (None, None)),
    ],
)
def test_a_name_says_which_set_which_split_and_where(here, name, found, split, hub):
    for folder in ("mine", "a@b"):
        Path(folder).mkdir()
    Path("rows.jsonl").touch()
    Path("chartqa").mkdir()  # a folder called like a set is not that set
    one = find_set(name, None, None)
    assert (one.name, one.split) == (found, split)
    assert (one.own and (one.own.train.hub_id, one.own.train.config)) == hub
    assert is_here(name, None) == (hub == (None, None))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("chartq", {}, "unknown data set 'chartq': .* did you mean chartqa?"),
        ("rows.jsonl", {}, "unknown data set 'rows.jsonl': .* file or folder that is there"),
        ("data/rows.csv", {}, "unknown data set 'data/rows.csv'"),
        ("a/b/c", {}, "unknown data set 'a/b/c'"),
        ("mine", {"path": "."}, "or give the place by --dataset-name . alone"),
        ("org/set@test", {"split": "train"}, "--dataset-name org/set@test and --split train name two splits"),
        ("org/set@test", {}, "split 'test' is for evaluation"),
        ("synthetic@test", {}, "split 'test' is for evaluation"),
        ("chartqa@old", {}, "split 'old' is for evaluation"),
        ("chartqa", {"columns": COLUMNS}, "--image-column is for a set without an adapter, and chartqa has one"),
        ("synthetic", {"columns": Columns(rule="strict")}, "--rule is for a set without an adapter"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(name, options, words):
    with pytest.raises(ValueError, match=words) as error:
        load_questions(name, **options)
    assert "\n" not in str(error.value)


def test_a_set_of_the_hub_that_cannot_be_had_is_one_line(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"org/set cannot be loaded from the hub .*--dataset-path"):
        load_questions("org/set@train", columns=COLUMNS)


def test_names_of_files_and_of_one_set(here):
    assert [file_name(one) for one in ("chartqa", "org/set:c@dev", "../x/../y")] == [
        "chartqa",
        "org-set-c-dev",
        "x-..-y",
    ]
    assert same_set("org/set@train", "org/set") and not same_set("org/set", "org/other")
    one, *others = "x/set", "./x/set/", str(here / "x" / "set"), "x/other/../set@test"
    assert all(same_set(one, other) and same_set(other, f"{one}@train") for other in others)
    assert same_set("chartqa@val", "chartqa") and not same_set("./chartqa", "chartqa")


# -- columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["jsonl", "one file", "parquet", "save_to_disk"])
def test_columns_are_read_as_the_flags_say_however_the_set_is_stored(here, store):
    rows = rows_of(5)
    name = "mine"
    if store in ("jsonl", "one file"):
        write(here / "mine", rows)
        name = "mine/train.jsonl" if store == "one file" else "mine"
    else:
        data = datasets.Dataset.from_list([{**row, "pic": None} for row in rows]).remove_columns(["pic", "messages"])
        data = data.add_column("pic", [{"bytes": png(i), "path": None} for i in range(5)]).cast_column(
            "pic", datasets.Image()
        )
        Path("mine").mkdir()
        data.to_parquet("mine/train.parquet") if store == "parquet" else data.save_to_disk("mine")
    found = load_questions(name, columns=COLUMNS)
    assert [one.question for one in found.questions] == [f"How high is {i}?" for i in range(5)]
    assert [one.answers for one in found.questions] == [(str(i),) for i in range(5)]
    assert found.questions[3].open_image().tobytes() == chart(3).tobytes()
    assert found.name == ("train" if store == "one file" else "mine") and "image from 'pic'" in " ".join(found.notes)


def test_a_lone_file_is_divided_by_the_picture_that_the_flag_names(here):
    rows = [{**row, "ask": f"{row['ask']} {turn}"} for row in rows_of(10) for turn in range(3)]
    write(here / "mine", rows, "questions.jsonl")
    train, test = (load_questions("mine", purpose=purpose, columns=COLUMNS) for purpose in ("train", "evaluate"))
    assert (len(train), len(test)) == (24, 6)
    assert not {one.image_id for one in train.questions} & {one.image_id for one in test.questions}


def test_a_test_chart_under_another_column_is_dropped_from_training(here):
    write(here / "mine", rows_of(6))
    write(here / "mine", rows_of(3, first=4), "test.jsonl")
    assert [one.question for one in load_questions("mine", columns=COLUMNS).questions] == [
        f"How high is {i}?" for i in range(4)
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"answer_kind": "numbers"}, "--answer-kind numbers: unknown; choose one of number, year"),
        ({"rule": "exact"}, "--rule exact: unknown; choose one of strict"),
        ({"image_column": "a", "answer_column": "a"}, "--image-column a: another flag names that column as well"),
    ],
)
def test_flags_without_meaning_are_refused_before_anything_is_read(values, words):
    with pytest.raises(ValueError, match=words):
        Columns(**values)


def test_a_column_that_is_not_there_is_named_with_those_that_are(here):
    write(here / "mine", rows_of(3))
    with pytest.raises(
        ValueError, match=r"--answer-column golds: .*mine has no such column, but .*gold.*did you mean gold\?"
    ):
        load_questions("mine", columns=Columns(answer_column="golds"))
    with pytest.raises(ValueError, match=r"has no split 'test': it has train; name one as .*mine@train"):
        datasets.Dataset.from_list([{"a": "b"}]).to_parquet("mine/train.parquet")
        Path("mine/train.jsonl").unlink()
        load_questions("mine", purpose="evaluate")


@pytest.mark.parametrize(
    ("kind", "answers"), [("list", ("[3, 4]",)), ("ordered list", ("[3, 4]",)), ("number", ("3", "4")), (None, None)]
)
def test_a_list_of_answers_means_what_its_kind_says(here, kind, answers):
    write(here / "mine", [{**row, "gold": [3, 4]} for row in rows_of(2)])
    columns = Columns(image_column="pic", question_column="ask", answer_column="gold", answer_kind=kind, rule="relaxed")
    if answers is None:
        with pytest.raises(ValueError, match="--answer-kind list means all of them"):
            load_questions("mine", columns=columns)
        return
    one = load_questions("mine", columns=columns).questions[0]
    assert (one.answers, one.answer_kind, one.rule) == (answers, kind, "relaxed")


# -- multiple choice --------------------------------------------------------------------------------------------------

FRUIT = {"A": "apple", "B": "pear", "C": "12.5"}


@pytest.mark.parametrize(
    "value",
    [
        ["apple", "pear", 12.5], '["apple", "pear", "12.5"]', FRUIT, json.dumps(FRUIT),
        ["A. apple", "B) pear", "(C) 12.5"], {"label": ["A", "B", "C"], "text": ["apple", "pear", "12.5"]},
        {"text": ["apple", "pear", "12.5"]},
    ],
)  # fmt: skip
def test_options_in_every_form_are_the_same_options(value):
    assert read_choices(value) == FRUIT


@pytest.mark.parametrize("value", [["one"], [], "a, b", 5, {"A": "x"}, [str(i) for i in range(27)], {"text": "ab"}])
def test_options_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="the options"):
        read_choices(value)


@pytest.mark.parametrize("gold", [1, "1", "B", "b", "(B)", "B.", "pear", "Pear"])
def test_a_gold_names_its_option_by_place_letter_or_text(gold):
    assert accepted_choice(gold, FRUIT) == ("B", "pear", "B. pear", "(B)")


@pytest.mark.parametrize(
    ("gold", "choices"),
    [("plum", FRUIT), (3, FRUIT), (-1, FRUIT), ("D", FRUIT), (1, {"A": "1", "B": "2"}), ("A", {"A": "B", "B": "A"})],
)
def test_a_gold_that_is_no_option_or_two_is_refused(gold, choices):
    with pytest.raises(ValueError, match="the answer"):
        accepted_choice(gold, choices)


def test_options_called_like_labels_are_not_answers_by_themselves():
    assert accepted_choice("2", {"1": "2 bars", "2": "3 bars"}) == ("2", "3 bars", "2. 3 bars", "(2)")
    assert accepted_choice(2, {"A": "x", "B": "y", "C": "b"}) == ("C", "C. b", "(C)")


@pytest.mark.parametrize(
    ("said", "right"),
    [("B", True), ("b", True), ("(B)", True), ("pear", True), ("B. pear", True), ("A", False), ("12.5", False)],
)
def test_an_answer_is_right_as_letter_or_as_text(here, said, right):
    write(here / "mine", rows_of(2, opts=["apple", "pear", "12.5"]))
    columns = Columns(image_column="pic", question_column="ask", answer_column="gold", choices_column="opts")
    one = load_questions("mine", columns=columns).questions[1]
    assert one.choices == ("A. apple", "B. pear", "C. 12.5")
    assert grade(said, one, "strict").correct is right, grade(said, one, "strict")


@pytest.mark.parametrize("names", ["ABC", ("option_1", "option_2", "option_3")])
def test_options_may_have_a_column_each(here, names):
    write(here / "mine", rows_of(2, **dict(zip(names, ["apple", "pear", None], strict=True))))
    columns = Columns(image_column="pic", question_column="ask", answer_column="gold", choices_column=",".join(names))
    one = load_questions("mine", columns=columns).questions[1]
    assert (one.choices, one.answers[:2]) == (("A. apple", "B. pear"), ("B", "pear"))
    with pytest.raises(ValueError, match=r"--choices-column A,B,D: .* has no such column"):
        load_questions("mine", columns=Columns(choices_column="A,B,D"))


def test_other_options_are_other_questions(here):
    prints = []
    for opts in (["x", "y"], ["x", "z"]):
        write(here / "mine", rows_of(2, opts=opts))
        columns = Columns(image_column="pic", question_column="ask", answer_column="gold", choices_column="opts")
        prints.append(load_questions("mine", columns=columns).fingerprint)
    assert prints[0] != prints[1]


# -- templates --------------------------------------------------------------------------------------------------------

ASKED = ChartQuestion("q", "How {choices}?", ("A",), choices=("A. x", "B. y"), instruction="Answer with the letter.")


def text_of(prompt: str, question: ChartQuestion = ASKED, control_tokens=()) -> str:
    return messages(question, prompt, control_tokens)[0]["content"][-1]["text"]


def test_a_template_puts_each_part_in_its_place_and_appends_what_has_none():
    assert text_of("Q: {question}\nO: {choices}\nI: {instruction}.") == (
        "Q: How {choices}?\nO: A. x\nB. y\nI: Answer with the letter.."
    )
    assert text_of("{question}!") == "How {choices}?\nA. x\nB. y\nAnswer with the letter.!"
    assert text_of("{choices}: {question}!") == "A. x\nB. y: How {choices}?\nAnswer with the letter.!"
    plain = ChartQuestion("q", "How many?", ("5",), instruction="In words.")
    assert text_of("short", plain).startswith("How many? In words.\nAnswer with")
    assert "< x>" in text_of("{question} {choices}", ChartQuestion("q", "a", ("b",), choices=("<x>", "y")), ["<x>"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Answer.", r"has no \{question\}"),
        (
            "{question} {chioces}",
            r"unknown place \{chioces\}; did you mean \{choices\}\? A template has \{question\}, \{choices",
        ),
        ("{question} {foo}", r"unknown place \{foo\} A template has"),
        (b"\xff{question}", "is not UTF-8"),
        (None, "there is no such file"),
    ],
)
def test_a_template_is_checked_before_a_model_is_loaded(here, text, words, monkeypatch, capsys):
    import models.registry

    monkeypatch.setattr(models.registry, "load_model", lambda *a, **k: pytest.fail("a model was loaded"))
    monkeypatch.setattr(finding, "load_model", models.registry.load_model)
    if text is not None:
        Path("p.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f"p.txt.*{words}"):
        read_template("p.txt")
    assert main.main(["--mode", "nsr", "--prompt-file", "p.txt", "--report-to", "none"]) == 2
    sampling = "--checkpoint-path tiny --dataset-name synthetic --output-path s.json --prompt-file p.txt"
    assert generate_samples.main(sampling.split()) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all(line.startswith("error: ") and "p.txt" in line for line in errors)


def test_braces_that_are_no_places_stay(here):
    Path("p.txt").write_text('{question} as {"columns": [...]} in \\boxed{answer} {}\n')
    text = read_template("p.txt")
    assert text_of(text).endswith('as {"columns": [...]} in \\boxed{answer} {}')
    assert prompt_record(text) == {"name": "own", "hash": prompt_hash(text), "text": text}
    assert of_record(prompt_record(text)) == text and of_record(prompt_record("short")) == "short"
    assert [doubt(one) is None for one in (*PROMPTS, text, "{question} <answer>")] == [
        *[True] * len(PROMPTS),
        False,
        True,
    ]
    assert [form_of(one) for one in (*PROMPTS, "{question} <think>", text)] == [*PROMPTS, "structured", "short"]


def test_two_prompts_are_refused():
    with pytest.raises(ValueError, match="--prompt names a prompt and --prompt-file another"):
        parse_args(["--mode", "nsr", "--prompt", "short", "--prompt-file", "p.txt"])
    with pytest.raises(ValueError, match="--prompt names a prompt and --prompt-file another"):
        line = "--checkpoint-path tiny --dataset-name x --output-path s.json --prompt short --prompt-file p"
        generate_samples.parse_args(line.split())


# -- shown, trained, sampled ------------------------------------------------------------------------------------------


def example(here: Path, name: str) -> list[str]:
    """The command line of a worked example of examples/, in small."""
    if not (here / "examples").exists():
        shutil.copytree(ROOT / "examples", here / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        quiz.draw(Path("quiz"), 24)
    small = "--subset-size 4 --held-out 0 --max-steps 1 --max-completion-length 24 --max-pixels 12544 --report-to none"
    return ["--config", f"examples/{name}.yaml", *small.split()]


def test_what_was_read_is_printed_and_shown_on_a_page_without_a_model(here, monkeypatch, capsys):
    import models.registry

    monkeypatch.setattr(models.registry, "load_model", lambda *a, **k: pytest.fail("a model was loaded"))
    monkeypatch.setattr(finding, "load_model", models.registry.load_model)
    assert main.main([*example(here, "options"), "--subset-size", "16", "--show-data", "page.html"]) == 0
    said, page = capsys.readouterr().out, Path("page.html").read_text()
    assert said.count("read as   the strict rule: text") == 10 and "10. quiz-train-" in said and "11. " not in said
    assert "options   A. " in said and "image from 'picture', question from 'ask'" in said
    assert "[user] <image>" in said and "Write the letter between" in said
    assert page.count("data:image/png;base64,") == 10 and "Write the letter between &lt;answer&gt;" in page
    assert not Path("grpo-start-ckpts").exists()
    line = "--checkpoint-path tiny --dataset-name quiz@test synthetic --show-data"
    flags = "--image-column picture --question-column ask --answer-column amount"
    assert generate_samples.main([*line.replace("quiz@test ", "").split(), *flags.split()]) == 2
    assert "--image-column is for a set without an adapter, and synthetic has one" in capsys.readouterr().err
    assert generate_samples.main(f"{line} {flags}".split()) == 0
    said = capsys.readouterr().out
    assert "quiz, split test: 24 questions" in said and "synthetic, split test: 500 questions" in said
    assert Path("quiz-test_show_data.html").is_file() and not list(here.glob("*.json"))


def test_of_several_sets_each_has_a_page_of_its_own(here, capsys):
    line = "--checkpoint-path tiny --dataset-name synthetic counting --subset-size 2 --show-data"
    assert generate_samples.main(f"{line} page.html".split()) == 2
    error = capsys.readouterr().err
    assert "--show-data page.html: of several data sets, name the files as page_{dataset}.html" in error
    assert error.count("\n") == 1 and not list(here.glob("*.html"))
    assert generate_samples.main(f"{line} page_{{dataset}}.html".split()) == 0
    titles = {name: Path(f"page_{name}.html").read_text() for name in ("synthetic", "counting")}
    assert all(f"<title>{name}, split test: 2 questions</title>" in text for name, text in titles.items())


def test_equal_rows_of_text_are_kept_once_and_others_options_are_other_questions(here, capsys):
    rows = [{"question": f"{n} + 1?", "answer": str(n + 1)} for n in range(6)] * 3
    rows += [{"question": "Which is right?", "answer": "A", "choices": [f"it is {n}", "none"]} for n in (1, 1, 2)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(load_questions("rows.jsonl").questions) == 21
    kept = load_questions("rows.jsonl", deduplicate=True).questions
    assert [one.id.rpartition("-")[2] for one in kept] == [*map(str, range(6)), "18", "20"]
    line = "--mode nsr --vlm-name tiny --dataset-name rows.jsonl --deduplicate --held-out 0 --show-data"
    assert main.main(line.split()) == 0
    assert "rows, split train: 8 questions" in capsys.readouterr().out


def test_samples_need_a_file_and_shown_data_a_way_that_is_whole(here, capsys):
    line = "--checkpoint-path tiny --dataset-name synthetic"
    assert generate_samples.main(line.split()) == 2
    assert "required: --output-path" in capsys.readouterr().err
    for wrong in ("--show-data --output-path s.txt", "--show-data --prompt short --prompt-file p.txt"):
        assert generate_samples.main(f"{line} {wrong}".split()) == 2


@pytest.mark.parametrize("flag", ["--rule", "--answer-kind"])
@pytest.mark.parametrize(("prompt", "hinted"), [("", True), ("--prompt short", True), ("--prompt boxed", False)])
def test_rows_of_mathematics_are_told_of_the_prompt_that_suits_them(here, prompt, hinted, flag, capsys):
    rows = [{"question": f"Is {n} odd?", "answer": f"\\boxed{{{n % 2}}}"} for n in range(12)]
    Path("odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = f"--dataset-name odd.jsonl {flag} math --show-data {prompt}".split()
    assert generate_samples.main(["--checkpoint-path", "tiny", *shown]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "--prompt boxed asks" in line]) == hinted
    assert "   answers   1" in lines, "what the box holds"
    assert main.main(["--mode", "nsr", "--vlm-name", "tiny", *shown]) == 0
    assert ("--prompt boxed asks" in capsys.readouterr().out) == hinted


def test_a_set_never_seen_is_trained_and_sampled_by_flags_alone(here, capsys, monkeypatch):
    from training import building

    rewards, real = [], building.build_rewards
    monkeypatch.setattr(building, "build_rewards", lambda *a, **k: rewards.append(k) or real(*a, **k))
    assert main.main([*example(here, "options"), "--output-root", "runs", "--rule", "relaxed"]) == 0
    assert [(one["rule"], one["form"]) for one in rewards] == [("relaxed", "short")], "it marks, and it rewards"
    run = "runs/tiny-prm-large-train-v2-nsr-2025"
    record = json.loads(Path(run, "training_settings.json").read_text())
    template = Path("examples/options.txt").read_text().strip()
    assert record["prompt"] == prompt_record(template) and record["settings"]["choices_column"] == "options"
    assert "prompt | own |" in Path(run, "README.md").read_text()
    Path("examples/options.txt").unlink()  # the run keeps the template

    size = "--subset-size 2 --num-samples 2 --max-new-tokens 8 --max-pixels 12544"
    line = f"--checkpoint-path {run} --dataset-name quiz synthetic --output-path s_{{dataset}}.jsonl {size}"
    capsys.readouterr()
    assert generate_samples.main(line.split()) == 0
    problem = json.loads(Path("s_quiz.jsonl").read_text().splitlines()[1])
    assert problem["answers"][0] in "ABC" and len(problem["choices"]) == 3 and problem["rule"] == "relaxed"
    settings = json.loads(Path("s_quiz.jsonl").read_text().splitlines()[0])["settings"]
    assert settings["prompt"] == record["prompt"]
    assert pass_at_k.main(["--samples-path", "s_quiz.jsonl", "s_synthetic.jsonl"]) == 0
    table = capsys.readouterr().out.splitlines()[-4:]
    assert (
        table[0].split()[:4] == ["data", "set", "method", "problems"] and "Pass@1" in table[0] and "Pass@2" in table[0]
    )
    assert [row.split()[0] for row in table[1:]] == ["quiz@test", "synthetic@test", "mean"]
    for file, correct in (("s_quiz.jsonl", [True, False]), ("s_synthetic.jsonl", [False, False])):
        head, *problems = map(json.loads, Path(file).read_text().splitlines())
        for problem, marks in zip(problems, ([True, True], correct), strict=True):
            problem |= {"correct": marks, "num_correct": sum(marks)}
        Path(f"known_{file}").write_text("".join(json.dumps(row) + "\n" for row in (head, *problems)))
    assert pass_at_k.main(["--samples-path", "known_s_quiz.jsonl", "known_s_synthetic.jsonl"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-2:] == ["62.5", "75.0"], "of 75 and 50, of 100 and 50"

    Path("other.txt").write_text("{question} <answer>")
    for more, words in [
        ("--prompt-file other.txt", "--prompt {question} <answer> contradicts"),
        ("--answer-column amount", "--answer-column amount contradicts .* trained on that set with solution"),
        (
            "--dataset-name quiz synthetic --output-path s.json",
            "of several data sets, name the files as s_{dataset}.json",
        ),
    ]:
        assert generate_samples.main([*line.replace(" synthetic", "").split(), *more.split()]) == 2
        error = capsys.readouterr().err
        assert all(word in error for word in words.split(" .* ")) and error.count("\n") == 1, error


def test_the_example_with_a_function_of_its_own_is_trained(here):
    assert main.main([*example(here, "near"), "--output-root", "runs"]) == 0
    (folder,) = Path("runs").iterdir()
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"][0]
    assert "rewards/accuracy/mean" in log and "rewards/format/mean" in log
    from examples.near import accuracy

    said = [f"<answer>{one}</answer>" for one in ("50", "54", "70", "few", "")]
    assert accuracy(said, answers=[("50",)] * 5) == pytest.approx([1.0, 0.6, 0.09, 0.0, 0.0])


def test_several_files_refuse_what_is_for_one(capsys):
    for flags, words in [
        (["--output-path", "r.json"], "--output-path r.json goes with one file"),
        (["--method-name", "NSR"], "--method-name NSR goes with one file"),
        (["--metrics", "all"], "--metrics goes with one file"),
    ]:
        assert pass_at_k.main(["--samples-path", "a.json", "b.json", *flags]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--choices-column options --rule math", "--choices-column: the answer is one of the options"),
        ("--choices-column options --answer-kind list", "--choices-column: the answer is one of the options"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(here, flags, said, capsys):
    assert main.main([*example(here, "options"), *flags.split(), "--show-data"]) == 2
    assert said in capsys.readouterr().err


def test_a_rule_of_texts_is_refused_for_boxes():
    with pytest.raises(ValueError, match="--rule relaxed compares texts, and --answer-kind box asks for boxes"):
        Columns(answer_kind="box", rule="relaxed")


@pytest.mark.parametrize(("kind", "rule"), [("number", "iou"), ("math", "iou"), ("box", "relaxed"), ("box", "math")])
def test_boxes_alone_are_compared_by_iou_and_by_nothing_else(kind, rule):
    """Of another kind no answer would be decided by iou, and a box would be compared in the frame of its text."""
    with pytest.raises(ValueError, match=f"answer_kind {kind} and rule {rule}: boxes are compared by the rule iou"):
        list(read_custom({"question": "?", "answer": "[1, 2, 3, 4]", "answer_kind": kind, "rule": rule}, 0, 1))
    with pytest.raises(ValueError, match=f"--rule {rule} compares .*, and --answer-kind {kind}"):
        Columns(answer_kind=kind, rule=rule)


def test_charts_are_drawn_to_order_with_a_split_beside_their_name_too():
    from training.preparing import load_data, resolve_defaults

    sizes = {}
    for name in ("synthetic", "synthetic@train"):
        args = parse_args(["--mode", "nsr", "--dataset-name", name, "--subset-size", "2100"])
        resolve_defaults(args)
        sizes[name] = [len(part) for part in load_data(args)]
    assert sizes["synthetic@train"] == sizes["synthetic"] and sizes["synthetic"][0] == 2100
