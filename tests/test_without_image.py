"""generate_samples.py --without-image: what is asked, for every family, and that it is never mixed with the rest."""

import hashlib
import json
from dataclasses import replace

import pytest
from PIL import ImageOps

import charts.loading
import generate_samples
from charts.synthetic import synthetic_questions
from evaluation import report
from models.families import family_of
from models.inputs import blind, prompt_inputs
from models.registry import load_processor
from sampling.journal import part_path
from sampling.settings import WITHOUT_IMAGE
from tests.families import FAMILIES, family_processor, make_family

SMALL = ["--dataset-name", "synthetic", "--subset-size", "2", "--num-samples", "3", "--max-new-tokens", "6",
         "--prompt", "short", "--max-pixels", "12544"]  # fmt: skip


def run(output, *flags, model="tiny") -> int:
    return generate_samples.main(["--checkpoint-path", str(model), *SMALL, "--output-path", str(output), *flags])


def refused(capsys, output, *flags) -> str:
    capsys.readouterr()
    assert run(output, *flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    """A model of the family as a user has it."""
    model, processor = make_family(request.param)
    place = tmp_path_factory.mktemp("models") / request.param
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


def drawn(output, *flags, model) -> list[tuple]:
    assert run(output, *flags, model=model) == 0
    return [(one["samples"], one["logprob"]) for one in json.loads(output.read_text())]


def negatives(monkeypatch):
    """From here on every chart is its own negative: another picture of the same size and name."""
    load = charts.loading.load_questions

    def inverted(*args, **kwargs):
        data = load(*args, **kwargs)
        turned = [replace(one, open_image=lambda one=one: ImageOps.invert(one.open_image())) for one in data.questions]
        return replace(data, questions=turned)

    monkeypatch.setattr(charts.loading, "load_questions", inverted)


def test_what_a_blind_model_says_does_not_depend_on_the_picture(folder, tmp_path, monkeypatch):
    hows = {"seeing": [], **{how: ["--without-image", how] for how in WITHOUT_IMAGE}}
    before = {how: drawn(tmp_path / f"{how}.json", *flags, model=folder) for how, flags in hows.items()}
    assert len({repr(one) for one in before.values()}) == 3, "seeing, masked and removed are three questions"
    negatives(monkeypatch)
    (tmp_path / "negative").mkdir()
    after = {how: drawn(tmp_path / "negative" / f"{how}.json", *flags, model=folder) for how, flags in hows.items()}
    assert {how: before[how] == after[how] for how in hows} == {"seeing": False, "mask": True, "remove": True}


def test_transformers_own_loop_is_asked_the_same(folder, tmp_path):
    for how in WITHOUT_IMAGE:
        generated = drawn(tmp_path / f"{how}.json", "--without-image", how, "--backend", "generate", model=folder)
        assert all(len(texts) == 3 for texts, _ in generated)


@pytest.mark.parametrize("family", FAMILIES)
def test_masked_the_prompt_has_the_same_tokens_and_removed_no_image(family):
    processor, question = family_processor(family), synthetic_questions("test", 1)[0]
    image, known = question.open_image(), family_of(processor)
    asked = {how: prompt_inputs(processor, *blind(question, image, how), prompt="short")
             for how in (None, *WITHOUT_IMAGE)}  # fmt: skip
    assert asked["mask"]["input_ids"].equal(asked[None]["input_ids"])
    assert asked["mask"]["pixel_values"].shape == asked[None]["pixel_values"].shape
    assert not asked["mask"]["pixel_values"].equal(asked[None]["pixel_values"])
    masked, size = blind(question, image, "mask")[1], image.size
    assert masked.size == size and len(masked.getcolors()) == 1
    ids = processor.tokenizer.convert_ids_to_tokens(asked["remove"]["input_ids"][0])
    assert not set(known.image_fields) & set(asked["remove"]) and not set(known.markers) & set(ids)
    assert set(known.markers) & set(processor.tokenizer.convert_ids_to_tokens(asked[None]["input_ids"][0]))


def test_a_question_without_an_image_stays_as_it_is():
    question = replace(synthetic_questions("test", 1)[0], open_image=None)
    assert all(blind(question, None, how) == (question, None) for how in WITHOUT_IMAGE)


def test_it_is_in_the_settings_and_the_chart_beside_the_samples_is_still_the_chart(tmp_path, capsys):
    runs = {}
    for how in WITHOUT_IMAGE:
        (tmp_path / how).mkdir()
        assert run(tmp_path / how / "s.json", "--without-image", how) == 0
        assert f"--without-image {how}" in capsys.readouterr().out
        settings = json.loads((tmp_path / how / "s.settings.json").read_text())
        assert settings["without_image"] == how
        runs[settings["run"]] = settings
    assert run(tmp_path / "s.json") == 0
    seeing = json.loads((tmp_path / "s.settings.json").read_text())
    assert "without_image" not in seeing and len({*runs, seeing["run"]}) == 3

    def charts(place):
        return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in (place / "sample_images").iterdir()}

    assert charts(tmp_path) == charts(tmp_path / "mask") == charts(tmp_path / "remove")


def test_seeing_and_blind_samples_never_share_a_file(tmp_path, capsys):
    mask, remove = (["--without-image", how] for how in WITHOUT_IMAGE)
    for begun, asked, told in (
        ([], mask, "without_image: None -> mask"),
        (remove, [], "without_image: remove -> None"),
        (mask, remove, "without_image: mask -> remove"),
    ):
        output = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        assert run(output, *begun) == 0
        assert told in refused(capsys, output, *asked)
        assert told in refused(capsys, output, *asked, "--num-samples", "5")
        lines = output.read_bytes().splitlines(keepends=True)
        output.unlink()
        part_path(output, (1, 1)).write_bytes(b"".join(lines[:2]))
        assert told in refused(capsys, output, *asked)
        assert told in refused(capsys, output, *asked, "--merge")
        assert run(output, *begun) == 0  # and the run that was begun goes on
        assert output.read_bytes() == b"".join(lines)


def test_more_blind_samples_are_added_to_a_blind_file(tmp_path):
    output, whole = tmp_path / "s.json", tmp_path / "whole.json"
    assert run(output, "--without-image", "mask") == run(output, "--without-image", "mask", "--num-samples", "5") == 0
    assert run(whole, "--without-image", "mask", "--num-samples", "5") == 0
    texts = [[one["samples"] for one in json.loads(path.read_text())] for path in (output, whole)]
    assert texts[0] == texts[1]


def test_data_without_images_and_other_words_are_refused(tmp_path, capsys, monkeypatch):
    assert "mask" in refused(capsys, tmp_path / "s.json", "--without-image", "blur")
    load = charts.loading.load_questions

    def without(*args, **kwargs):
        data = load(*args, **kwargs)
        return replace(data, questions=[replace(one, open_image=None) for one in data.questions])

    monkeypatch.setattr(charts.loading, "load_questions", without)
    told = refused(capsys, tmp_path / "s.json", "--without-image", "remove")
    assert "--without-image remove: no question of synthetic has an image" in told
    assert list(tmp_path.iterdir()) == []


def test_the_report_page_says_which_file_is_blind(tmp_path):
    paths = [tmp_path / f"{name}.json" for name in ("seeing", "blind")]
    assert run(paths[0]) == run(paths[1], "--without-image", "mask") == 0
    page = tmp_path / "report.html"
    assert report.main([*map(str, paths), "--output-path", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "Asked without the image: Base (blind)." in text and '"label":"Base (blind)"' in text
    assert report.main([str(paths[0]), "--output-path", str(page)]) == 0
    assert "blind" not in page.read_text(encoding="utf-8")


def test_the_embedded_processor_keeps_the_number_of_image_tokens_for_any_shape():
    processor, question = load_processor("tiny"), synthetic_questions("test", 1)[0]
    for size in ((28, 300), (301, 57), (640, 480)):
        image = question.open_image().resize(size)
        ids = [prompt_inputs(processor, *blind(question, image, how), prompt="short")["input_ids"]
               for how in (None, "mask")]  # fmt: skip
        assert ids[0].equal(ids[1])
