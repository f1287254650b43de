"""Images: one resize rule, nothing decoded before it is needed, nothing dangerous opened."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from charts.images import check_header, fit_image, image_id, inside, open_image


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its data do not have."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("size", "limits", "fitted"),
    [
        ((112, 112), {}, (112, 112)),
        ((850, 600), {}, (840, 588)),
        ((300, 200), {}, (308, 196)),
        ((20, 20), {}, (56, 56)),  # the model's floor of four tokens
        ((1000, 1000), {"max_pixels": 250_880}, (476, 476)),
        ((100, 100), {"min_pixels": 250_880}, (504, 504)),
    ],
)
def test_sides_become_multiples_of_28_within_the_limits(size, limits, fitted):
    image = fit_image(Image.new("RGB", size), **limits)
    assert image.size == fitted
    assert image.mode == "RGB"


def test_the_rule_is_qwen_vl_utils_own():
    from qwen_vl_utils import smart_resize

    for width in range(60, 2000, 137):
        for height in (60, 333, 1200):
            expected = smart_resize(height, width, factor=28, min_pixels=3136, max_pixels=501_760)
            assert fit_image(Image.new("RGB", (width, height)), max_pixels=501_760).size == expected[::-1]


def test_fitting_twice_changes_nothing():
    once = fit_image(Image.new("RGB", (1234, 777)), max_pixels=250_880)
    assert fit_image(once, max_pixels=250_880).size == once.size


def test_contradicting_limits_and_extreme_shapes_are_refused():
    with pytest.raises(ValueError, match="max_pixels"):
        fit_image(Image.new("RGB", (100, 100)), min_pixels=10_000, max_pixels=5_000)
    with pytest.raises(ValueError, match="aspect ratio"):
        fit_image(Image.new("RGB", (3000, 10)))


def test_an_image_opens_from_everything_data_sets_store(tmp_path):
    image = Image.new("RGB", (9, 7), (1, 2, 3))
    (tmp_path / "a.png").write_bytes(png(image))
    stored = [png(image), {"bytes": png(image), "path": None}, {"bytes": None, "path": "a.png"}, "a.png"]
    for one in stored:
        assert open_image(one, tmp_path).tobytes() == image.tobytes()


def test_transparency_is_laid_on_white():
    assert open_image(png(Image.new("RGBA", (2, 2), (0, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (2, 2), 0)
    palette.info["transparency"] = 0
    assert open_image(png(palette)).mode == "RGB"


@pytest.mark.parametrize(
    "stored",
    [bomb(20_000, 20_000), bomb(10_001, 10_000), b"not an image", b"", None, {}, png(Image.new("RGB", (50, 50)))[:60]],
)
def test_bombs_broken_files_and_nothing_are_refused(stored):
    with pytest.raises(ValueError, match="image"):
        open_image(stored)


def test_an_image_too_elongated_for_the_model_is_refused_before_it_is_used():
    strip = png(Image.new("RGB", (4020, 20)))
    for check in (check_header, open_image):
        with pytest.raises(ValueError, match="4020 x 20 pixels: more than 200 times as long as wide"):
            check(strip)
    allowed = png(Image.new("RGB", (20, 4000)))
    check_header(allowed)
    assert fit_image(open_image(allowed)).height > 20


def test_a_bomb_is_recognised_by_its_header():
    with pytest.raises(ValueError, match="image"):
        check_header(bomb(20_000, 20_000))
    with pytest.raises(ValueError, match="10000 x 10000 pixels: 100,000,000 and more are refused"):
        check_header(bomb(10_000, 10_000))
    check_header(bomb(9_999, 10_000))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../secret.png"])
def test_a_path_from_data_stays_in_its_folder(tmp_path, name):
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(png(Image.new("RGB", (2, 2))))
    with pytest.raises(ValueError, match="leaves its folder"):
        inside(folder, name)
    with pytest.raises(ValueError, match="leaves its folder"):
        open_image(name, folder)


def test_a_link_in_the_folder_is_the_users_own(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "blob").write_bytes(png(Image.new("RGB", (2, 2))))
    (folder / "chart.png").symlink_to(tmp_path / "blob")
    assert open_image("chart.png", folder).size == (2, 2)


def test_a_path_without_a_folder_is_refused():
    with pytest.raises(ValueError, match="no folder"):
        open_image("/etc/passwd")


def test_image_ids_are_equal_for_equal_content_only(tmp_path):
    one, other = png(Image.new("RGB", (4, 4))), png(Image.new("RGB", (4, 4), "red"))
    (tmp_path / "a.png").write_bytes(one)
    assert image_id(one) == image_id({"bytes": one, "path": "x"}) == image_id("a.png", tmp_path)
    assert image_id(one) != image_id(other)
    assert len(image_id(one)) == 16
