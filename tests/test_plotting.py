"""The pictures: which files and labels are taken, what is refused, and what is drawn and written beside them."""

import csv
import json

import matplotlib
import numpy as np
import pytest

import trainers
from evaluation.curves import caption, draw_curves
from evaluation.intervals import bootstrap_intervals
from evaluation.names import contradicts, method_key, methods_named
from evaluation.pass_at_k import main as score
from evaluation.plotting import main
from evaluation.results import paired_difference, read_results
from evaluation.styles import STYLES, styles_for
from evaluation.training_curves import as_csv, draw_training, read_run, smooth

COUNTS = {"base": [0, 1, 2, 4], "grpo": [1, 2, 2, 4], "nsr": [1, 1, 3, 4], "w-reinforce": [2, 2, 3, 4]}


@pytest.fixture
def results(tmp_path, capsys):
    """Results of four methods on four problems (two a chart) with four samples each; returns a maker of more."""

    def make(method, counts, name=None, n=4, **sampling):
        rows = [
            {"problem_id": f"p{i}", "question": "?", "answer": "7", "image_id": f"chart{i // 2}", "run": method}
            | {"correct": [True] * c + [False] * (n - c)}
            for i, c in enumerate(counts)
        ]
        samples = tmp_path / "samples.json"
        samples.write_text(json.dumps(rows))
        settings = {"run": method, "method": method, "sampling": {"temperature": 1.0, "seed": 2025} | sampling}
        (tmp_path / "samples.settings.json").write_text(json.dumps(settings))
        output = tmp_path / f"results_{name or method}.json"
        assert score(["--samples-path", str(samples), "--output-path", str(output)]) == 0
        return output

    for method, counts in COUNTS.items():
        make(method, counts)
    capsys.readouterr()
    return make


def fails(capsys, *argv):
    try:
        code = main([str(word) for word in argv])
    except SystemExit as end:
        code = end.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and lines[-1].startswith("error: ") and len(lines) == 1, lines
    return lines[0]


def files(tmp_path, *methods):
    return [str(tmp_path / f"results_{method}.json") for method in methods]


def test_the_plotting_command_finds_either_spelling_and_writes_picture_and_numbers(tmp_path, results):
    output = tmp_path / "comparison_pass_at_k.png"
    argv = ["--results", *files(tmp_path, "base", "grpo", "w_reinforce"), "--labels", "Base", "GRPO", "W-REINFORCE"]
    assert main([*argv, "--output", str(output), "--baseline", "GRPO"]) == 0
    assert output.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(output.with_suffix(".csv").open()))
    assert [(row["label"], row["k"]) for row in rows[:4]] == [
        ("Base", "1"),
        ("Base", "2"),
        ("Base", "4"),
        ("GRPO", "1"),
    ]
    assert float(rows[0]["pass_at_k"]) == pytest.approx(7 / 16)
    assert float(rows[0]["minus GRPO"]) == pytest.approx(-2 / 16)  # 1 + 1 + 0 + 0 fewer right of 16
    assert rows[3]["minus GRPO"] in ("", None)


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_suffix_decides_the_format_and_one_input_gives_one_file(tmp_path, results, suffix, start):
    written = []
    for name in ("a", "b"):
        output = tmp_path / f"{name}.{suffix}"
        assert main(["--results", *files(tmp_path, "nsr"), "--output", str(output)]) == 0
        written.append(output.read_bytes())
    assert written[0].startswith(start) and written[0] == written[1]


def test_curves_are_in_the_order_of_k_on_a_log2_axis_with_plain_ticks(tmp_path, results):
    counts = [i % 17 for i in range(20)]
    path = results("psr", counts, n=16)
    figure = draw_curves([read_results(path)], ["PSR"])
    axes = figure.axes[0]
    assert list(axes.lines[0].get_xdata()) == [1, 2, 4, 8, 16]  # not 1, 16, 2, 4, 8
    figure.draw_without_rendering()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "4", "8", "16"]
    assert axes.get_xscale() == "log" and axes.lines[0].get_ydata()[0] == pytest.approx(100 * sum(counts) / 320)


def test_every_method_has_its_own_colour_marker_and_line_wherever_it_stands():
    names, labels = ["base", *trainers.METHODS], ["Base", *(method.label for method in trainers.METHODS.values())]
    forward = styles_for(labels, names)
    backward = styles_for([name.replace("-", "_") for name in names[::-1]], labels[::-1])
    assert forward == backward[::-1] == list(STYLES.values())
    for part in ("color", "marker", "linestyle"):
        assert len({str(style[part]) for style in forward}) == len(names)
    red, green, blue = matplotlib.colors.to_rgb(forward[0]["color"])
    assert red == green == blue and forward[0]["linestyle"] != "-"  # base is grey and dashed
    twice = styles_for(["NSR", "NSR, 3 epochs", "mine"], ["nsr", "nsr", "other"])
    assert twice[0] == STYLES["nsr"] and len({style["color"] for style in twice}) == 3


def test_labels_ignore_case_and_punctuation_and_may_not_name_another_method():
    assert method_key("W-REINFORCE") == method_key("w_reinforce") == "wreinforce"
    assert methods_named("W-REINFORCE (ours)") == {"wreinforce"} and methods_named("lambda 0.2") == set()
    assert not contradicts("w reinforce", "W-REINFORCE") and not contradicts("lambda 0.2", "nsr")
    assert not contradicts("NSR against GRPO", "nsr")
    assert contradicts("PSR", "nsr") and contradicts("Base", "GRPO")


def test_the_paired_difference_is_narrower_than_the_bands(tmp_path, results):
    spread = [i % 5 for i in range(40)]
    a = read_results(results("psr", spread))
    b = read_results(results("ppo", [min(4, c + (i % 3 == 0)) for i, c in enumerate(spread)]))
    mean, bounds = paired_difference(b, a, [1])
    assert mean[0] == pytest.approx(b.pass_at_k[1] - a.pass_at_k[1])
    low, high = a.intervals[1]
    assert bounds[0, 1] - bounds[0, 0] < 0.6 * (high - low)
    gains = (b.c - a.c)[:, None] / 4  # two questions share a chart, and are drawn together
    assert bounds == pytest.approx(bootstrap_intervals(gains, [f"chart{i // 2}" for i in range(40)]))


def test_the_caption_names_problems_charts_samples_temperature_and_seed(tmp_path, results):
    text = caption([read_results(tmp_path / "results_nsr.json")], [])
    assert text.startswith("4 problems on 2 charts, n = 4 samples each, temperature 1, seed 2025.")
    assert "At k = n = 4: share of problems with any right sample" in text


def test_other_problems_or_settings_are_refused_and_when_forced_the_figure_says_so(tmp_path, results, capsys):
    hotter = results("psr", [1, 2, 3, 4], temperature=0.6)
    fewer = results("ppo", [1, 2, 3])
    capsys.readouterr()
    nsr, output = tmp_path / "results_nsr.json", tmp_path / "o.png"
    message = fails(capsys, "--results", nsr, hotter, "--output", output)
    assert "temperature 1.0 and 0.6" in message and "--force" in message and not output.exists()
    assert "problem set; number of problems 4 and 3" in fails(capsys, "--results", nsr, fewer, "--output", output)
    svg = tmp_path / "o.svg"
    assert main(["--results", str(nsr), str(hotter), "--force", "--output", str(svg)]) == 0
    assert "Not one experiment: the runs differ in temperature 1.0 and 0.6" in svg.read_text()


def test_bad_input_gives_one_line_and_code_2(tmp_path, results, capsys):
    grpo, nsr = files(tmp_path, "grpo", "nsr")
    out = ("--output", tmp_path / "o.png")
    assert "3 labels for 2 files" in fails(capsys, "--results", grpo, nsr, "--labels", "A", "B", "C", *out)
    assert "'NSR' is given to" in fails(capsys, "--results", grpo, nsr, "--labels", "NSR", "GRPO", *out)
    assert "called 'X'" in fails(capsys, "--results", grpo, nsr, "--labels", "X", "X", *out)
    assert "none of the labels" in fails(capsys, "--results", grpo, nsr, "--baseline", "PSR", *out)
    assert "needs a second curve" in fails(capsys, "--results", grpo, "--baseline", "GRPO", *out)
    assert "holds no Pass@8, only k = 1, 2, 4" in fails(capsys, "--results", grpo, "--k-values", "1", "8", *out)
    assert "got '2.5'" in fails(capsys, "--results", grpo, "--k-values", "2.5", *out)
    assert "must end in .png, .svg, .pdf" in fails(capsys, "--results", grpo, "--output", tmp_path / "o.gif")
    assert "does not exist" in fails(capsys, "--results", grpo, "--output", tmp_path / "no" / "o.png")
    assert "does not exist" in fails(capsys, "--results", tmp_path / "results_none.json", *out)
    assert "either --results or --training" in fails(capsys, *out)
    (tmp_path / "results_w_REINFORCE.json").write_text("{}")
    assert "name one" in fails(capsys, "--results", tmp_path / "results_w_reinforce.json", *out)
    (tmp_path / "cut.json").write_text('{"pass_at_k": {"1"')
    assert "not readable JSON" in fails(capsys, "--results", tmp_path / "cut.json", *out)
    assert "not a results file" in fails(capsys, "--results", tmp_path / "samples.settings.json", *out)


def test_a_table_that_is_not_ours_is_not_overwritten(tmp_path, results, capsys):
    words = ("--results", *files(tmp_path, "grpo"), "--output", tmp_path / "charts.png")
    (tmp_path / "charts.csv").write_text("image,question,answer\n")
    assert "exists and is no file of curves" in fails(capsys, *words)
    assert (tmp_path / "charts.csv").read_text() == "image,question,answer\n"
    (tmp_path / "charts.csv").unlink()
    for _ in range(2):  # its own numbers are drawn anew
        assert main([str(word) for word in words]) == 0


LOW_HIGH = (("low", -0.1), ("high", 0.1))


def folder(path, mode, steps=5, checkpoint=None, **more):
    path.mkdir()
    (path / "training_settings.json").write_text(json.dumps({"settings": {"mode": mode}}))
    history = [
        {"step": s, "loss": 0.1 * s, "grad_norm": 1.0, "entropy": 1.0, "decomposed/accuracy": 0.5, "epoch": 0.1}
        | {"completions/mean_length": 70, "decomposed/positive": 3, "decomposed/negative": 5} | more
        for s in range(1, steps + 1)
    ]  # fmt: skip
    history.append({"step": steps, "eval_rewards/accuracy/mean": 0.6, "eval_loss": 0.0})
    target = path / checkpoint if checkpoint else path
    target.mkdir(exist_ok=True)
    (target / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    return path


def test_training_curves_of_several_runs(tmp_path):
    runs = [folder(tmp_path / "one", "grpo"), folder(tmp_path / "two", "w-reinforce", checkpoint="checkpoint-5")]
    output = tmp_path / "training.svg"
    assert main(["--training", *map(str, runs), "--output", str(output)]) == 0
    text = output.read_text()
    for words in ("GRPO", "W-REINFORCE", "Accuracy while training (%)", "Gradient norm", "held-out charts"):
        assert words in text
    rows = list(csv.DictReader(output.with_suffix(".csv").open()))
    loss = [row["value"] for row in rows if row["label"] == "GRPO" and row["metric"] == "loss"]
    assert loss == ["0.1", "0.2", "0.3", "0.4", "0.5"]


def test_the_held_out_accuracy_is_the_one_that_training_reports(tmp_path):
    """With --soft-accuracy the mean reward lies above the share of correct completions."""
    run = folder(tmp_path / "run", "nsr")
    state = json.loads((run / "trainer_state.json").read_text())
    state["log_history"][-1]["eval_decomposed/accuracy"] = 0.25
    (run / "trainer_state.json").write_text(json.dumps(state))
    [*_, diamonds] = draw_training([read_run(run)], ["NSR"]).axes[0].lines
    assert diamonds.get_marker() == "D" and diamonds.get_ydata().tolist() == [25.0]


def test_pass_at_k_of_the_held_out_charts_has_panels_where_a_run_measured_it(tmp_path):
    runs = [folder(tmp_path / name, name) for name in ("nsr", "psr", "grpo")]
    for run, ks in zip(runs, ((1, 2, 4, 8), (1, 2, 3), ()), strict=True):
        state = json.loads((run / "trainer_state.json").read_text())
        for step in (2, 4):
            measured = {f"eval_pass@{k}": k / 10 + step / 100 for k in ks}
            ends = {f"{key}/{end}": value + by for key, value in measured.items() for end, by in LOW_HIGH}
            state["log_history"].append({"step": step, **measured, **ends, "eval_pass@16": 0.5})
        (run / "trainer_state.json").write_text(json.dumps(state))
    figure = draw_training([read_run(run) for run in runs], ["NSR", "PSR", "GRPO"])
    panels = [axes for axes in figure.axes if "held-out charts" in axes.get_title("left")]
    assert [axes.get_title("left") for axes in panels] == [
        "Pass@1 on held-out charts (%)",
        "Pass@2 on held-out charts (%)",
    ], "1 and the largest k that all have which measured any; one without an interval is none"
    assert [line.get_ydata().round(6).tolist() for line in panels[1].lines] == [[22.0, 24.0], [22.0, 24.0]]
    table = as_csv([read_run(runs[0])], ["NSR"]).splitlines()
    assert [row for row in table if "eval_pass@8" in row] == [
        "NSR,nsr,eval_pass@8,2,0.82",
        "NSR,nsr,eval_pass@8,4,0.84",
        "NSR,nsr,eval_pass@8/low,2,0.72",
        "NSR,nsr,eval_pass@8/low,4,0.74",
        "NSR,nsr,eval_pass@8/high,2,0.92",
        "NSR,nsr,eval_pass@8/high,4,0.94",
    ]
    assert len(draw_training([read_run(runs[2])], ["GRPO"]).axes) == 6


def test_the_newest_checkpoint_speaks_for_an_unfinished_run_and_a_repeated_step_counts_once(tmp_path):
    run = folder(tmp_path / "run", "nsr", steps=3, checkpoint="checkpoint-9")
    (run / "checkpoint-10").mkdir()
    history = [{"step": 1, "loss": 9.0}, {"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}]
    (run / "checkpoint-10" / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    read = read_run(run)
    assert read.method == "nsr" and read.series["loss"][1].tolist() == [1.0, 2.0]


def test_a_metric_that_was_not_logged_is_said_and_a_long_run_is_smoothed(tmp_path):
    run = folder(tmp_path / "run", "nsr", steps=100)
    state = json.loads((run / "trainer_state.json").read_text())
    for entry in state["log_history"]:
        entry.pop("entropy", None)
    (run / "trainer_state.json").write_text(json.dumps(state))
    figure = draw_training([read_run(run)], ["NSR"])
    assert [text.get_text() for text in figure.axes[1].texts] == ["not logged"]
    assert len(figure.axes[4].lines) == 3  # every step, the running mean, the zero line
    assert smooth(np.arange(5.0), 3).tolist() == [0.5, 1, 2, 3, 3.5]


def test_training_input_that_cannot_be_drawn_gives_one_line(tmp_path, capsys):
    empty, out = tmp_path / "empty", ("--output", tmp_path / "o.png")
    empty.mkdir()
    assert "holds no trainer_state.json" in fails(capsys, "--training", empty, *out)
    (empty / "trainer_state.json").write_text('{"log_history": []}')
    assert "logged no step" in fails(capsys, "--training", empty, *out)
    (empty / "trainer_state.json").write_text("[]")
    assert "is not a trainer_state.json" in fails(capsys, "--training", empty, *out)
    (empty / "trainer_state.json").write_text('{"log_history": ["step", {"step": null, "loss": 1}]}')
    assert "logged no step" in fails(capsys, "--training", empty, *out)
    run = folder(tmp_path / "run", "psr")
    assert "'NSR' is given to" in fails(capsys, "--training", run, "--labels", "NSR", *out)
    assert "--baseline belongs to --results" in fails(capsys, "--training", run, "--baseline", "PSR", *out)
