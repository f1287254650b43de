"""Which columns hold a row's picture, and which look like pictures and are not read."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from charts.image_kinds import BEGINNINGS, FORMATS

# TRL, EasyR1, ms-swift and LLaMA-Factory name a list of pictures `images`; R1-V and jxu124's sets give paths
PICTURES = ("image", "images", "image_path")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_BYTES = (b"RIFF", *(beginning for beginning, kind in BEGINNINGS if kind in FORMATS))
_BASE64 = ("data:image/", "iVBORw0KGgo", "/9j/")
_LOOK_AT = 20  # rows


def picture_of(row: dict) -> Any:
    """The one stored picture of a row, None where there is none; `ValueError` for several, or what is not a file."""
    for name in PICTURES:
        stored = row.get(name)
        found = [one for one in (stored if isinstance(stored, list | tuple) else [stored]) if one not in (None, "")]
        if len(found) > 1:
            raise ValueError(f"{len(found)} images in the column {name}: a question has one")
        if found:
            return _checked(found[0])
    return None


def _checked(stored: Any) -> Any:
    if isinstance(stored, str) and "://" in stored[:10]:
        raise ValueError(f"image {stored[:80]!r} is an address: download it and give its path")
    if isinstance(stored, str) and stored.startswith(_BASE64) and not _is_path(stored):
        raise ValueError("image as base64 text: give a path, or the bytes in a parquet file")
    return stored


def look_like_pictures(rows: Iterable[dict]) -> list[str]:
    """Columns, other than those that are read, whose values in the first rows all look like pictures."""
    seen: dict[str, list] = {}
    for row in islice(rows, _LOOK_AT):
        for name, value in row.items():
            if name not in PICTURES and value not in (None, "", []):
                seen.setdefault(name, []).append(value)
    return [name for name, values in seen.items() if all(map(_is_picture, values))]


def holds_pictures(feature: Any) -> bool:
    """Whether a column of this feature holds images, or lists of images."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    return type(feature).__name__ == "Image"


def _is_picture(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_is_picture, value))
    if isinstance(value, dict):
        return "bytes" in value and "path" in value
    if isinstance(value, bytes):
        return value.startswith(_BYTES)
    return isinstance(value, str) and (_is_path(value) or value.startswith(_BASE64))


def _is_path(text: str) -> bool:
    return len(text) < 500 and "\n" not in text and text.lower().endswith(_SUFFIXES)
