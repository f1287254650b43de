"""The report page: what stands in it, that nothing in it is ever code, and what is refused."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from evaluation.gallery import GROUPS
from evaluation.report import main

BROWSER = shutil.which("chromium") or shutil.which("chromium-headless-shell")
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>&amp;\"'"


def problem(name, extracted, gold="7", **more):
    marks = [answer == gold for answer in extracted]
    texts = [f"<think>so {answer}</think>\n<answer>{answer}</answer>" for answer in extracted]
    base = {"problem_id": name, "question": f"How tall is {name}?", "answer": gold, "answers": [gold], "kind": "value"}
    base |= {"image_id": f"chart-{name}", "image": None, "run": "r", "samples": texts, "extracted": extracted}
    return base | {"correct": marks, "num_correct": sum(marks), "num_total": len(marks)} | more


def write(path, problems, method):
    run = f"run-{method}"
    path.write_text("[\n" + ",\n".join(json.dumps(one | {"run": run}) for one in problems) + "\n]\n")
    path.with_name(path.stem + ".settings.json").write_text(json.dumps({"run": run, "method": method}))
    return str(path)


@pytest.fixture
def two(tmp_path):
    """Samples of two methods on three problems."""
    nsr = [problem("a", ["7", "7.0", "8", None]), problem("b", ["1", "2", "3", "4"]), problem("c", ["7"] * 4)]
    psr = [problem("a", ["7", "7", "7", "7"]), problem("b", ["1", "1", "1", "1"]), problem("c", ["7"] * 4)]
    return [write(tmp_path / "samples_nsr.json", nsr, "nsr"), write(tmp_path / "samples_psr.json", psr, "psr")]


def page_of(tmp_path, *argv):
    output = tmp_path / "report.html"
    assert main([*argv, "--output-path", str(output)]) == 0
    text = output.read_text()
    return text, json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])


def fails(capsys, *argv):
    try:
        code = main([str(word) for word in argv])
    except SystemExit as end:
        code = end.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


def test_samples_are_grouped_by_answer_with_counts_marks_and_one_completion(tmp_path, two):
    _, data = page_of(tmp_path, *two)
    assert [method["label"] for method in data["methods"]] == ["NSR", "PSR"]
    assert [one["id"] for one in data["problems"]] == ["a", "b", "c"]
    a = data["problems"][0]["by"][0]
    # "7.0" is not marked right here: one answer with two marks stays two groups
    assert [(group["answer"], group["right"], group["count"]) for group in a["groups"]] == [
        ("7", True, 1),
        ("7.0", False, 1),
        ("8", False, 1),
        (None, False, 1),
    ]
    assert a["groups"][0]["text"] == "<think>so 7</think>\n<answer>7</answer>"
    assert data["problems"][0]["by"][1]["groups"][0]["count"] == 4
    assert data["methods"][0]["curve"]["1"][0] == pytest.approx((1 / 4 + 0 + 1) / 3)
    assert data["methods"][0]["curve"]["4"][0] == pytest.approx(2 / 3)


def test_whatever_a_model_or_a_user_wrote_stays_text(tmp_path):
    one = problem(HOSTILE, [HOSTILE, "7"], question=HOSTILE, kind=HOSTILE, samples=[HOSTILE, HOSTILE], answer=HOSTILE)
    samples = write(tmp_path / "samples_x.json", [one], "nsr")
    text, data = page_of(tmp_path, samples, "--title", HOSTILE, "--labels", HOSTILE)
    assert len(re.findall("(?i)<script", text)) == 2 and len(re.findall("(?i)</script", text)) == 2
    assert "<img" not in text and "onerror=alert(1)>" not in text.split('id="data">')[0]
    assert data["problems"][0]["question"] == HOSTILE and data["kinds"] == [HOSTILE]
    assert data["problems"][0]["by"][0]["groups"][0]["text"] == HOSTILE
    assert not re.search("innerHTML|outerHTML|insertAdjacentHTML|document.write|eval\\(", text)


def test_the_page_loads_nothing_from_elsewhere(tmp_path, two):
    text, _ = page_of(tmp_path, *two)
    assert "default-src 'none'" in text
    links = set(re.findall(r"https?://[^\s\"'<>]+", text))
    assert all(link.startswith("http://www.w3.org/") for link in links), links  # names of the SVG format, never fetched
    assert not re.search(r"(?i)(src|href)=\"(?!#)[^\"]", text) and "@import" not in text and "url(http" not in text
    assert "@@" not in text


def test_a_chart_is_embedded_once_and_made_small(tmp_path):
    (tmp_path / "sample_images").mkdir()
    Image.new("RGB", (900, 600), "red").save(tmp_path / "sample_images" / "x.png")
    shared = {"image_id": "x", "image": "sample_images/x.png"}
    rows = [problem("a", ["7"], **shared), problem("b", ["8"], **shared)]
    files = [write(tmp_path / f"samples_{method}.json", rows, method) for method in ("nsr", "psr")]
    text, data = page_of(tmp_path, *files, "--image-size", "90")
    assert list(data["images"]) == ["x"] and text.count("data:image/") == 1
    assert [one["image"] for one in data["problems"]] == ["x", "x"]


def test_pictures_that_are_missing_broken_or_outside_the_folder_are_left_out(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    (folder / "broken.png").write_bytes(b"\x89PNG not really")
    names = {"a": "gone.png", "b": "broken.png", "c": "../outside.png"}
    rows = [problem(name, ["7"], image=image, image_id=name) for name, image in names.items()]
    _, data = page_of(tmp_path, write(folder / "samples_nsr.json", rows, "nsr"))
    assert data["images"] == {"a": None, "b": None, "c": None}


def test_the_page_stays_small_when_every_sample_answers_differently(tmp_path):
    rows = [problem("a", [f"w{i}" for i in range(255)] + ["7"], samples=["x" * 9000] * 256)]
    _, data = page_of(tmp_path, write(tmp_path / "samples_nsr.json", rows, "nsr"), "--completions", "3")
    part = data["problems"][0]["by"][0]
    assert len(part["groups"]) == GROUPS + 1 and part["groups"][-1]["right"]  # the rare right answer is still shown
    assert part["further"] == [256 - GROUPS - 1, 256 - GROUPS - 1]
    kept = [group["text"] for group in part["groups"] if "text" in group]
    assert len(kept) == 4 and all(len(text) < 6100 for text in kept)


def test_settings_files_that_the_shell_adds_are_passed_over(tmp_path, two):
    everything = sorted(map(str, tmp_path.glob("samples_*.json")))
    assert len(everything) == 4
    _, data = page_of(tmp_path, *everything)
    assert len(data["methods"]) == 2


def test_problems_without_samples_are_shown_with_their_reason(tmp_path):
    broken = {"problem_id": "x", "question": "?", "answer": "7", "error": "unreadable image"}
    text, data = page_of(tmp_path, write(tmp_path / "samples_nsr.json", [problem("a", ["7"]), broken], "nsr"))
    assert data["problems"][1]["by"][0]["error"] == "unreadable image"
    assert "NSR: 1 problems have no samples: x (unreadable image): left out of every k." in text


def test_the_picture_follows_the_pages_colours(tmp_path, two):
    text, _ = page_of(tmp_path, *two)
    svg = text[text.index("<svg") : text.index("</svg>")]
    assert (
        "var(--text)" in svg and "var(--grid)" in svg and "#1a1a1a" not in svg and "prefers-color-scheme: dark" in text
    )


def test_runs_that_do_not_belong_together_are_refused_unless_forced(tmp_path, two, capsys):
    other = write(tmp_path / "samples_grpo.json", [problem("z", ["7"] * 4)], "grpo")
    assert "differ in problem set" in fails(capsys, two[0], other, "--output-path", tmp_path / "r.html")
    text, data = page_of(tmp_path, two[0], other, "--force")
    assert "Not one experiment: the runs differ in problem set" in text
    assert data["problems"][0]["by"][1] is None


def test_bad_input_gives_one_line_and_code_2(tmp_path, two, capsys):
    out = ("--output-path", tmp_path / "r.html")
    assert "does not exist" in fails(capsys, tmp_path / "none.json", *out)
    assert "does not exist" in fails(capsys, *two, "--output-path", tmp_path / "no" / "r.html")
    assert "only *.settings.json" in fails(capsys, tmp_path / "samples_nsr.settings.json", *out)
    assert "1 labels for 2 files" in fails(capsys, *two, "--labels", "NSR", *out)
    assert "'PSR' is given to" in fails(capsys, *two, "--labels", "PSR", "NSR", *out)
    assert "--image-size must be at least 16" in fails(capsys, *two, "--image-size", "2", *out)
    (tmp_path / "cut.json").write_text('[{"problem_id": "a", "corr')
    assert "is truncated" in fails(capsys, tmp_path / "cut.json", *out)
    assert not (tmp_path / "r.html").exists()


def rendered(tmp_path, address=""):
    """The page as the browser has it when its scripts have run."""
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    quiet += ["--disable-quic", "--disable-sync", "--disable-component-update", f"--user-data-dir={tmp_path}/profile"]
    command = [BROWSER, *quiet, "--dump-dom", f"file://{tmp_path}/report.html{address}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="needs chromium")
@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        ("", ["a", "b", "c"]),
        ("solved=no-method", ["b"]),
        ("method=1&solved=all", ["a", "c"]),
        ("method=0&solved=some", ["a"]),
        ("solved=every-method", ["a", "c"]),
        ("text=tall%20is%20C", ["c"]),
        ("order=hard", ["b", "a", "c"]),
    ],
)
def test_the_filters_work_in_a_browser(tmp_path, two, filters, shown):
    page_of(tmp_path, *two)
    dom = rendered(tmp_path, f"#{filters}")
    assert re.findall(r'<p class="question">How tall is (\w)\?</p>', dom) == shown
    assert f"{len(shown)} of 3 problems" in dom


BOXED = {"answer_kind": "box", "answers": ["[10, 20, 30, 40]"], "answer": "[10, 20, 30, 40]", "rule": "iou"}


def boxed_files(tmp_path):
    """A 100 x 50 picture; NSR writes boxes from 0 to 1000, PSR in pixels of it at twice the size."""
    (tmp_path / "sample_images").mkdir()
    Image.new("RGB", (100, 50), "white").save(tmp_path / "sample_images" / "x.png")
    shared = {"image_id": "x", "image": "sample_images/x.png", "image_size": [100, 50], **BOXED}
    nsr = problem("a", ["[100, 400, 300, 800]"] * 2 + ["none"] * 3, gold="[100, 400, 300, 800]", **shared)
    psr = problem("a", ["(20,40),(60,60)", "(0,0),(9,9)"] * 2 + [None], gold="", **shared)
    nsr["box_frame"], psr["box_frame"] = [1000, 1000], [200, 100]
    return [write(tmp_path / f"samples_{name}.json", [one], name) for name, one in (("nsr", nsr), ("psr", psr))]


def test_boxes_stand_in_the_page_in_pixels_of_the_picture(tmp_path):
    text, data = page_of(tmp_path, *boxed_files(tmp_path))
    shown = data["problems"][0]
    assert (shown["boxes"], shown["size"]) == ([[10, 20, 30, 40]], [100, 50])
    nsr, psr = (part["groups"] for part in shown["by"])
    assert [(group["answer"], group.get("box"), group["count"]) for group in nsr] == [
        ("none", None, 3),
        ("[100, 400, 300, 800]", [10, 20, 30, 40], 2),
    ]
    assert [group.get("box") for group in psr] == [[10, 20, 30, 30], [0, 0, 4.5, 4.5], None]
    assert "gold box" in text and "its most frequent box" in text


def test_a_box_in_a_long_answer_is_drawn_too(tmp_path):
    label = {"label": "the cup " * 60, "bbox_2d": [1, 2, 3, 4]}
    one = problem("a", [json.dumps(label)], image_size=[100, 50], **BOXED)
    _, data = page_of(tmp_path, write(tmp_path / "samples_x.json", [one], "nsr"))
    (group,) = data["problems"][0]["by"][0]["groups"]
    assert group["box"] == [1, 2, 3, 4] and "more characters" in group["answer"]


def test_a_box_whose_picture_has_no_size_is_shown_as_text(tmp_path, two):
    one = problem("a", ["[1, 2, 3, 4]"], **BOXED)
    _, data = page_of(tmp_path, write(tmp_path / "samples_x.json", [one], "nsr"))
    assert "boxes" not in data["problems"][0] and "box" not in data["problems"][0]["by"][0]["groups"][0]
    _, data = page_of(tmp_path, *two)
    assert not any("boxes" in one for one in data["problems"])


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="needs chromium")
def test_boxes_are_drawn_in_a_browser_and_told_in_words(tmp_path):
    page_of(tmp_path, *boxed_files(tmp_path))
    dom = rendered(tmp_path)
    assert dom.partition("<article")[2].count("<rect ") == 6, "gold and two methods, each a line under a line"
    assert "gold box: solid" in dom and "NSR, its most frequent box: dashed, right, ×2" in dom


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="needs chromium")
def test_methods_with_one_box_take_turns_and_a_box_beyond_the_picture_is_told(tmp_path):
    """Three methods with the gold box itself, and three with a box that is in part, and wholly, beyond the picture."""
    nsr_file, _ = boxed_files(tmp_path)
    (nsr,) = json.loads(Path(nsr_file).read_text())
    answers = {
        "a": ["[100, 400, 300, 800]"] * 3,
        "b": ["[500, 0, 1200, 900]", "[1200, 0, 1500, 900]", "[0, 0, 1000, 1000]"],
    }
    for method in range(3):
        problems = [{**nsr, "problem_id": name, "extracted": [said[method]] * 5} for name, said in answers.items()]
        write(tmp_path / f"samples_{method}.json", problems, ["nsr", "psr", "grpo"][method])
    page_of(tmp_path, *(str(tmp_path / f"samples_{method}.json") for method in range(3)))
    same, apart = re.findall("<article.*?</article>", rendered(tmp_path), re.DOTALL)
    assert re.findall(r'stroke-dasharray="(6 \d+)" stroke-dashoffset="(-?\d+)"', same) == [
        ("6 12", "0"), ("6 12", "-6"), ("6 12", "-12")
    ]  # fmt: skip
    assert same.count('stroke="#fff"') == 1 and 'stroke="#ffd400"' in same, "the gold's wide line stays in sight"
    assert apart.count("partly outside the picture") == 1 and apart.count(", outside the picture") == 1
    assert "6 4" in apart and apart.count('stroke="#fff"') == 3
