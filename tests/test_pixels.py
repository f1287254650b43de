"""Pictures are read as a viewer shows them, whatever their file stores."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from charts.image_kinds import looks_like
from charts.images import check_header, fit_image, open_image
from charts.pixels import WHITES, as_seen

WIDE = ["I", "F", "I;16", "I;16L", "I;16B", "I;16N"]
MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", *WIDE]
# The pixels in order, row by row, of an image of 3 x 2 stored with each orientation (TIFF 6.0, page 36).
SHOWN = {1: "abcdef", 2: "cbafed", 3: "fedcba", 4: "defabc", 5: "adbecf", 6: "daebfc", 7: "fcebda", 8: "cfbead"}


def stored(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_a_picture_is_upright_in_every_orientation_and_form(form, orientation):
    shades = {letter: 40 * n for n, letter in enumerate("abcdef")}
    image = Image.fromarray(np.array([[shades[c] for c in row] for row in ("abc", "def")], np.uint8)).convert("RGB")
    image = image.resize((48, 32), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}}.get(form, {})
    content = stored(image, form, exif=exif.tobytes(), **options)
    for shown in (open_image(content), as_seen(Image.open(io.BytesIO(content)))):
        assert shown.size == ((48, 32) if orientation < 5 else (32, 48))
        middles = np.asarray(shown)[8::16, 8::16, 0].ravel()
        letters = "".join("abcdef"[round(value / 40)] for value in middles)
        assert letters == SHOWN[orientation]
        assert fit_image(shown, step=1).tobytes() == shown.tobytes(), "it is turned once"


def test_an_orientation_of_xmp_is_one_too_and_a_damaged_note_is_none():
    page = Image.new("RGB", (30, 20))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert open_image(stored(page, "JPEG", xmp=xmp)).size == (20, 30)
    assert open_image(stored(page, "PNG", exif=b"Exif\0\0nonsense")).size == (30, 20)
    exif = Image.Exif()
    exif[0x0112] = 77
    assert open_image(stored(page, "JPEG", exif=exif.tobytes())).size == (30, 20)


@pytest.mark.parametrize("white", WHITES)
@pytest.mark.parametrize("dtype", ["u2", ">u2", "i4", "f4"])
def test_a_gradient_up_to_any_white_becomes_the_same_gradient(white, dtype):
    """The smallest white that holds the largest value; what lies between whites keeps its share."""
    steps = np.linspace(0, white, 256)[None].repeat(20, 0)
    expected = np.rint(steps.astype(dtype).astype(float) / white * 255)
    shown = np.asarray(as_seen(Image.fromarray(steps.astype(dtype))))
    assert np.abs(shown - expected[..., None]).max() <= (0 if dtype == "f4" else 1) and shown.max() == 255
    if white > 255:
        half = np.asarray(as_seen(Image.fromarray((steps * 0.9).astype(dtype))))
        assert abs(int(half.max()) - 0.9 * 255) <= 1, "the same white holds nine tenths of it"


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (-5, -1), (0, 1e6), (-1e30, 1e30), (1e5, 1e5)])
def test_floats_beyond_every_white_are_stretched_from_the_smallest_to_the_largest(low, high):
    steps = np.linspace(low, high, 256, dtype=np.float32)[None].repeat(20, 0)
    shown = np.asarray(as_seen(Image.fromarray(steps)))[..., 0].astype(int)
    expected = np.arange(256) if high > low else np.zeros(256)
    assert np.abs(shown - expected).max() <= 1


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(mode):
    image = as_seen(Image.new(mode, (9, 7)))
    assert (image.mode, image.size) == ("RGB", (9, 7))
    assert fit_image(Image.new(mode, (60, 60))).mode == "RGB"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_eight_bits_a_channel_stay_what_pillow_makes_of_them(mode):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).convert(mode)
    assert as_seen(noise).tobytes() == noise.convert("RGB").tobytes()


@pytest.mark.parametrize("modes", ["LA", "RGBA", "LA La", "RGBA RGBa"])
def test_transparency_lies_on_white_in_every_mode(modes):
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    for mode in modes.split():
        half = half.convert(mode)
    grey = as_seen(half).getpixel((1, 1))
    assert all(abs(value - 127) <= 1 for value in grey)


def test_a_cmyk_photograph_and_a_palette_keep_their_colours():
    red = Image.new("RGB", (20, 20), (230, 30, 40))
    for content in (stored(red.convert("CMYK"), "JPEG", quality=95), stored(red.quantize(4), "GIF")):
        assert np.abs(np.array(open_image(content).getpixel((9, 9))) - (230, 30, 40)).max() < 8


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_file_cut_anywhere_is_refused_or_opened_and_never_raises_another_error(form):
    whole = stored(Image.effect_noise((40, 30), 50), form)
    for length in range(0, len(whole), 37):
        for use in (check_header, open_image):
            try:
                use(whole[:length])
            except ValueError as error:
                assert "image" in str(error)


def test_what_cannot_be_read_is_named():
    assert looks_like(b"") == "an empty file"
    assert looks_like(stored(Image.new("L", (8, 8)), "AVIF")) == "AVIF"
    assert looks_like(stored(Image.new("L", (8, 8)), "ICO")) == "an icon (ICO)"
    assert looks_like(stored(Image.new("L", (8, 8)), "JPEG2000")) == "JPEG 2000"
    assert looks_like(b"\0\0\0\x20ftypisom") == "a video"
    assert looks_like(b"\xef\xbb\xbf  <svg width='1'/>") == "SVG"
    assert looks_like(b"year;value\n2010;5\n") == "text"
