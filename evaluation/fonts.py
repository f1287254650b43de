"""Characters that the pictures' font lacks: another font of this machine draws them, or a line says that none does."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text


def fit_fonts(figure: Figure) -> str:
    """Gives every text with characters that its font lacks further fonts that have them; returns those that none has.

    Matplotlib does so by itself only for families that it is told of, and warns once a character and drawing otherwise.
    """
    nowhere: set[str] = set()
    for text in figure.findobj(Text):
        characters = {one for one in text.get_text() if not one.isspace()}
        lacking = characters - _characters(findfont(text.get_fontproperties()))
        if lacking:
            families, left = _fonts_with(frozenset(lacking))
            text.set_fontfamily([*text.get_fontfamily(), *families])
            nowhere |= left
    return "".join(sorted(nowhere))


@lru_cache(maxsize=1 << 10)
def _characters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):  # a file that is gone, or that FreeType does not draw
        return frozenset()


def _fonts_with(lacking: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """The fewest families, found greedily, that have these characters, and the characters that no family has."""
    faces = {
        entry.name: entry.fname
        for entry in fontManager.ttflist
        if entry.style == "normal" and not entry.name.startswith("Last Resort")  # which draws boxes for everything
    }
    families = []
    while lacking and faces:
        name = max(faces, key=lambda name: len(lacking & _characters(faces[name])))
        left = lacking - _characters(faces.pop(name))
        if left == lacking:
            break
        families.append(name)
        lacking = left
    return families, lacking


@contextmanager
def without_glyph_warnings() -> Iterator[None]:
    """Silences what `fit_fonts` has said in one line."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from", category=UserWarning)
        yield
