"""Data from elsewhere: no bomb is decoded, no path leaves the folder, no file that could hold code is looked at."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from pathlib import Path

import datasets
import pytest
from PIL import Image

from charts.loading import load_questions
from tests.chart_copies import png
from tests.test_distrust_code import Bomb, change
from tests.test_images import bomb


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def rows_with(folder: Path, bad: list, good: int = 200) -> Path:
    """A custom data set of `good` whole rows and one for each of the `bad` images (bytes of a file, or a path)."""
    rows = []
    for number, image in enumerate([*[png(0)] * good, *bad]):
        name = f"{number}.png" if isinstance(image, bytes) else image
        if isinstance(image, bytes):
            (folder / name).write_bytes(image)
        rows.append({"image": name, "question": f"How many {number}?", "answer": "5"})
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_bombs_and_huge_images_are_counted_and_named_and_more_than_one_in_a_hundred_is_fatal(data):
    found = load_questions("custom", path=rows_with(data, [bomb(10_000, 10_000), bomb(50_000, 50_000)]))
    assert len(found) == 200
    assert [row for row, _ in found.skipped] == ["train row 200", "train row 201"]
    assert "10000 x 10000 pixels" in found.skipped[0][1] and "too large" in found.skipped[1][1]
    with pytest.raises(ValueError, match=r"3 of 203 rows cannot be used \(more than 1 %\): train row 200: image of"):
        load_questions("custom", path=rows_with(data, [bomb(10_000, 10_000)] * 3))


def test_a_huge_image_is_refused_before_a_pixel_is_decoded(data, monkeypatch):
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert len(load_questions("custom", path=rows_with(data, [bomb(10_000, 10_000)])).skipped) == 1


def test_pictures_that_start_another_program_are_no_pictures(data):
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    assert Image.open(io.BytesIO(postscript)).format == "EPS", "Pillow would take it and call Ghostscript"
    found = load_questions("custom", path=rows_with(data, [postscript]))
    assert "not an image" in found.skipped[0][1]


def test_names_from_rows_do_not_leave_the_folder(data, tmp_path):
    (tmp_path / "secret.png").write_bytes(png(1))
    (data / "folder").mkdir()
    (data / "far").symlink_to(tmp_path)
    names = ["../secret.png", str(tmp_path / "secret.png"), "folder/../../secret.png", "far/../secret.png"]
    names += ["folder", "\0"]
    found = load_questions("custom", path=rows_with(data, names, good=700))
    assert len(found) == 700 and len(found.skipped) == len(names)
    assert sum("leaves its folder" in reason for _, reason in found.skipped) == 3
    assert "cannot be read" in found.skipped[3][1], "beside the link, not where it leads"


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "SECRET"])
@pytest.mark.parametrize(
    "row", [{"images": ["NAME"]}, {"image": [{"path": "NAME", "bytes": None}]}, {"file_name": "NAME"}]
)
def test_names_in_lists_and_metadata_do_not_leave_the_folder_either(row, name, data, tmp_path):
    (tmp_path / "secret.png").write_bytes(png(1))
    (data / "0.png").write_bytes(png(0))
    text = json.dumps({**row, "question": "q", "answer": "5"}).replace("NAME", name)
    file = "metadata.jsonl" if "file_name" in row else "train.jsonl"
    (data / file).write_text(text.replace("SECRET", str(tmp_path / "secret.png")))
    with pytest.raises(ValueError, match="leaves its folder"):
        load_questions("custom", path=data)


def test_links_on_the_users_own_disk_are_followed(data, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for number in range(2):
        (tmp_path / "elsewhere" / f"{number}.png").write_bytes(png(number))
    (data / "link.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    (data / "far").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "alias").symlink_to(data)
    names = ["link.png", "far/1.png", str(data / "link.png")]
    rows_with(data, names, good=1)
    for path in (data, tmp_path / "alias"):
        found = load_questions("custom", path=path)
        assert len(found) == 4 and not found.skipped
        assert [one.open_image().size for one in found.questions] == [(40, 30)] * 4


@pytest.mark.parametrize("layout", ["chartqa", "plotqa", "chartfc"])
def test_names_in_published_layouts_do_not_leave_the_folder(layout, data, tmp_path):
    (tmp_path / "secret.png").write_bytes(png(1))
    for name in ("../../../secret", str(tmp_path / "secret"), "../secret"):
        if layout == "chartqa":
            (data / "train" / "png").mkdir(parents=True, exist_ok=True)
            rows = [{"imgname": f"{name}.png", "query": "Which?", "label": "5"}]
            (data / "train" / "train_human.json").write_text(json.dumps(rows))
        elif layout == "plotqa":
            rows = [{"image_index": name, "question_string": "Which?", "answer": "5"}]
            (data / "plotqa-qa-train.json").write_text(json.dumps({"qa_pairs": rows}))
        else:
            rows = [{"image_filename": f"{name}.png", "question": "claim", "answer": 1}]
            (data / "train_barplot_seaborn_qa.json").write_text(json.dumps(rows))
        with pytest.raises(ValueError, match="leaves its folder"):
            load_questions(layout, path=data)


def test_a_data_set_cannot_name_files_elsewhere(data, tmp_path):
    rows = datasets.Dataset.from_list([{"question": "q", "answer": "a"}])
    rows.save_to_disk(str(tmp_path / "other"))
    rows.save_to_disk(str(data))
    change(data / "state.json", _data_files=[{"filename": "../other/data-00000-of-00001.arrow"}])
    with pytest.raises(ValueError, match="which is not in its folder"):
        load_questions("custom", path=data)
    shutil.rmtree(data)
    data.mkdir()
    (tmp_path / "secret.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    (data / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: ../secret.jsonl\n---\n")
    with pytest.raises(ValueError, match="which is not in its folder"):
        load_questions("custom", path=data)


def test_files_that_could_hold_code_are_not_looked_at(data, tmp_path):
    mark = tmp_path / "code-has-run"
    for name in ("rows.pkl", "rows.pandas", "rows.py", "evil"):
        (data / name).write_bytes(pickle.dumps(Bomb(mark)))
        with pytest.raises(ValueError, match="give a folder or a file of"):
            load_questions("custom", path=data / name)
    (data / f"{data.name}.py").write_text(f"open({str(mark)!r}, 'w')")
    with pytest.raises(ValueError, match="holds no data set that can be read"):
        load_questions("custom", path=data)
    assert not mark.exists()


def test_pictures_in_columns_that_are_not_used_are_not_decoded(data, monkeypatch):
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "more": datasets.List(datasets.Image()),
            "question": datasets.Value("string"),
            "answer": datasets.Value("string"),
        }
    )
    one = {"bytes": png(0), "path": None}
    rows = [{"image": one, "more": [{"bytes": bomb(50_000, 50_000), "path": None}], "question": "q", "answer": "a"}]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(str(data))
    assert load_questions("custom", path=data).questions[0].open_image().size == Image.open(io.BytesIO(png(0))).size


def test_the_folder_one_stands_in_is_a_folder_like_others(data, monkeypatch):
    datasets.Dataset.from_list([{"question": "q", "answer": "a"}]).to_parquet(data / "train.parquet")
    (data / "sub").mkdir()
    monkeypatch.chdir(data / "sub")
    for path in ("..", "../sub/..", data):
        assert len(load_questions("custom", path=path)) == 1
    monkeypatch.chdir(data)
    assert len(load_questions("custom", path=".")) == 1
