"""A figure -> the content of a file, or of a page.

Characters that the pictures' font lacks are drawn in another font of this machine, or a line says that none has them.
"""

import io
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from common.terminal import printable
from evaluation.styles import GRID, MUTED, RC, TEXT


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


def picture(figure: Figure, suffix: str) -> bytes:
    """The figure as PNG, SVG or PDF, without a date, so that one input gives one file.

    Characters that no font of this machine has are named on stderr; an SVG's text is drawn by whoever shows it.
    """
    content = io.BytesIO()
    undated = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[suffix]
    with matplotlib.rc_context(RC), without_glyph_warnings():
        lacking = fit_fonts(figure)
        if lacking and suffix != ".svg":
            note = f"note: no font here has {lacking}, drawn as boxes: install one, or name the curves by --labels"
            print(printable(note), file=sys.stderr)
        figure.savefig(content, format=suffix[1:], dpi=200, metadata=undated)
    return content.getvalue()


def page_svg(figure: Figure) -> str:
    """The figure as SVG for the inside of a page, its colours following the page's light or dark scheme."""
    content = io.StringIO()
    with matplotlib.rc_context(RC), without_glyph_warnings():
        fit_fonts(figure)
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for color, name in ((TEXT, "text"), (MUTED, "muted"), (GRID, "grid"), ("#ffffff", "card")):
        svg = svg.replace(color, f"var(--{name})")
    return re.sub(
        r'(<svg [^>]*?)width="[^"]*"', r"\1", re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", svg, count=1), count=1
    )
