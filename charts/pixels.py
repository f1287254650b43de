"""From the pixels that a file stores to the picture that a viewer shows: upright, eight bits a channel, on white.

Pillow's own `convert("RGB")` does neither: it ignores the orientation that a camera or scanner notes beside the
pixels, and clamps channels of more than eight bits to 255, so that a 16-bit chart becomes white and a chart of floats
between 0 and 1 black.
"""

from contextlib import suppress

import numpy as np
from PIL import ExifTags, Image, ImageOps

# Where white lies in channels of more than eight bits: the smallest of these that holds the largest value. Sensors and
# scanners store 10, 12 or 14 bits in 16, and arrays of 0 to 1 or 0 to 255 are stored as floats or wide integers.
WHITES = (1, 255, 1023, 4095, 16383, 65535)
_WHITE_IS_ZERO = 0  # the value of TIFF's tag PhotometricInterpretation; Pillow heeds it in eight bits only
_QUARTER_TURNS = range(5, 9)  # of EXIF's orientations
_UNPREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


def as_seen(image: Image.Image) -> Image.Image:
    """A fresh RGB image of a Pillow image of any mode. Raises what Pillow raises for pixels that cannot be decoded.

    Integers and floats of more than eight bits are scaled to the first of `WHITES` that holds them; values that are
    negative or larger than all of these, from the smallest to the largest. What is no number is white.
    """
    image.load()  # a file cut short fails here
    negative = _is_negative(image)
    with suppress(Exception):  # beside a good orientation, another note may be damaged; the pixels are good
        image = ImageOps.exif_transpose(image) if _orientation(image) != 1 else image
    if image.mode[0] == "I" or image.mode == "F":
        return _eight_bits(image, negative).convert("RGB")
    if image.mode in _UNPREMULTIPLIED:
        image = image.convert(_UNPREMULTIPLIED[image.mode])
    if image.has_transparency_data:
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image.convert("RGBA"))
        image = page
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged note on the orientation says nothing
        return 1


def is_turned(image: Image.Image) -> bool:
    """Whether the image is shown a quarter turned, so that its width is its height."""
    return _orientation(image) in _QUARTER_TURNS


def _is_negative(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {})  # only an image fresh from a TIFF file has them
    return tags.get(ExifTags.Base.PhotometricInterpretation) == _WHITE_IS_ZERO


def _eight_bits(image: Image.Image, negative: bool) -> Image.Image:
    """Mode L of an image with one channel of 16 or 32 bits, or of floats."""
    values = np.asarray(image).astype(np.float32)  # (height, width)
    finite = values[np.isfinite(values)]
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    white = next((white for white in WHITES if most <= white), None) if least >= 0 else None
    low, high = (0.0, white) if white is not None else (least, most)
    scaled = (values - low) * (255 / ((high - low) or 1))
    if negative:
        scaled = 255 - scaled
    scaled[np.isnan(values)] = 255
    transparent = image.info.get("transparency")  # of a PNG of 16 bits: the one value that is not drawn
    if isinstance(transparent, int):
        scaled[values == transparent] = 255
    return Image.fromarray(np.rint(scaled.clip(0, 255)).astype(np.uint8))
