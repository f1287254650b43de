"""Images: opened lazily and safely, identified by content, resized by one rule for training and evaluation."""

import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from charts.image_kinds import FORMATS, looks_like
from charts.pixels import as_seen, is_turned

TOO_MANY_PIXELS = 100_000_000  # an image of as many is refused before it is decoded
MOST_ELONGATED = 200  # times as long as wide; qwen-vl-utils' smart_resize refuses what is beyond (MAX_RATIO)
MOST_PATH = 4096  # characters, as Linux has it; longer ones are no paths
STEP = 28  # side lengths are multiples of patch 14 times merge 2 (Qwen2-VL, Qwen2.5-VL)


def fit_image(
    image: Image.Image, min_pixels: int | None = None, max_pixels: int | None = None, step: int = STEP
) -> Image.Image:
    """The one resize rule: sides become multiples of `step`, the area stays within the limits, the shape is kept.

    This is qwen-vl-utils' `smart_resize`. Without `min_pixels` an image is never enlarged beyond the rounding of its
    sides (and the model's own floor of four tokens); without `max_pixels` it is never shrunk below 16,384 tokens.
    """
    size = fitted_size(image.size, min_pixels, max_pixels, step)
    image = as_seen(image)
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def fitted_size(
    size: tuple[int, int], min_pixels: int | None = None, max_pixels: int | None = None, step: int = STEP
) -> tuple[int, int]:
    """Width and height that `fit_image` gives an image of this width and height."""
    from qwen_vl_utils.vision_process import IMAGE_MAX_TOKEN_NUM, IMAGE_MIN_TOKEN_NUM, smart_resize

    floor, ceiling = IMAGE_MIN_TOKEN_NUM * step**2, IMAGE_MAX_TOKEN_NUM * step**2
    low = max(floor, min_pixels or floor)
    high = max_pixels or max(ceiling, low)
    if high < low:
        raise ValueError(f"max_pixels {high:,} is below min_pixels {low:,} (at least {floor:,}): raise --max-pixels")
    height, width = smart_resize(size[1], size[0], factor=step, min_pixels=low, max_pixels=high)
    return width, height


def inside(folder: Path, name: str | Path) -> Path:
    """The file `name` of `folder`; `ValueError` when the name, taken from data, points out of the folder.

    Only the name is judged. A link that it leads to is the user's own: a folder of images on another disk, or the
    hub's cache, whose files are links.
    """
    root = Path(folder).resolve()
    path = Path(os.path.normpath(root / name))
    if not any(path.is_relative_to(one) for one in (root, os.path.normpath(Path(folder).absolute()))):
        raise ValueError(f"image path {str(name)!r} leaves its folder {folder}")
    return path


def stored_bytes(stored: Any, folder: Path | None = None) -> bytes:
    """The encoded bytes of an image as data sets hold it: bytes, {"bytes", "path"}, or a path below `folder`."""
    if isinstance(stored, dict):
        stored = stored.get("bytes") or stored.get("path")
    if isinstance(stored, (bytes, bytearray, memoryview)) and len(stored):
        return bytes(stored)
    if isinstance(stored, (str, Path)) and str(stored):
        if "://" in str(stored) or str(stored).startswith("data:") or len(str(stored)) > MOST_PATH:
            raise ValueError(f"image {str(stored)[:60]!r} is an address or text: give a path inside the data, or bytes")
        if folder is None:
            raise ValueError(
                f"image {str(stored)!r} is a path, and this data has no folder of its own: download it, "
                "and give its folder by --dataset-path"
            )
        try:
            path = inside(folder, stored)
            if path.exists() and not path.is_file():  # a pipe would be waited for, a device never ends
                raise ValueError(f"image path {str(stored)!r} is no file")
            return path.read_bytes()
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError) and str(error).startswith("image path"):
                raise
            raise ValueError(f"image file {str(stored)!r} cannot be read: {type(error).__name__}") from None
    raise ValueError("no image")


def image_id(stored: Any, folder: Path | None = None) -> str:
    """16 hex digits of the sha256 of the stored bytes."""
    return hashlib.sha256(stored_bytes(stored, folder)).hexdigest()[:16]


def check_header(stored: bytes) -> bool:
    """Whether an image has further frames or pages than the first, which alone is used; reads the header only.

    `ValueError` for what is not an image, or one too large or too elongated.
    """
    image = _open(stored, None)
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))  # MPO: previews, depth maps
    except Exception:  # of a damaged file; whether it can be used shows when it is decoded
        return False


def seen_size(stored: Any, folder: Path | None = None) -> tuple[int, int]:
    """Width and height of the image as `open_image` returns it, from its header alone."""
    image = _open(stored, folder)
    return image.size[:: -1 if is_turned(image) else 1]


def open_image(stored: Any, folder: Path | None = None) -> Image.Image:
    """A fresh RGB image, as a viewer shows it (charts.pixels); `ValueError` for anything that cannot be used.

    Of several frames or pages, the first.
    """
    image = _open(stored, folder)
    try:
        return as_seen(image)
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        kind = f"{image.format or 'mode'} {image.mode}"
        raise ValueError(f"image cannot be decoded ({kind}): {error}") from None


def _open(stored: Any, folder: Path | None) -> Image.Image:
    """The image, not decoded."""
    content = stored_bytes(stored, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise ValueError(f"image too large: {error}") from None
        except Exception:
            raise ValueError(
                f"not an image that can be opened: it looks like {looks_like(content)}; {', '.join(FORMATS[:-1])} and "
                f"{FORMATS[-1]} are read"
            ) from None
    _check_size(image)
    return image


def _check_size(image: Image.Image) -> None:
    size, (short, long) = f"{image.width} x {image.height} pixels", sorted(image.size)
    if short * long >= TOO_MANY_PIXELS:
        raise ValueError(f"image of {size}: {TOO_MANY_PIXELS:,} and more are refused")
    if long > MOST_ELONGATED * short:
        raise ValueError(f"image of {size}: more than {MOST_ELONGATED} times as long as wide")
