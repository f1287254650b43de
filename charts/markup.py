"""Markup that models write around and inside an answer: LaTeX, HTML and Markdown become plain text."""

import re

_GROUPS = re.compile(
    r"\\(?:boxed|fbox|text|textbf|textit|textrm|mbox|mathrm|mathbf|mathit|mathsf|operatorname)\s*\{([^{}]*)\}"
)
_FRACTION = re.compile(r"(?P<before>\d)?\s*\\[dt]?frac\s*(?:\{\s*([^{}]+?)\s*\}\s*\{\s*([^{}]+?)\s*\}|(\d)\s*(\d))")
_COMMANDS = {
    "\\%": "%", "\\$": "$", "\\&": "&", "\\#": "#", "\\_": "_", "\\,": " ", "\\;": " ", "\\:": " ", "\\ ": " ",
    "\\!": "", "\\left": "", "\\right": "", "\\times": "×", "\\cdot": "·", "\\geq": "≥", "\\ge": "≥", "\\leq": "≤",
    "\\le": "≤", "\\approx": "~", "\\sim": "~", "^\\circ": "°", "^{\\circ}": "°", "\\degree": "°", "\\pounds": "£",
    "\\euro": "€", "\\displaystyle": "", "\\quad": " ", "\\(": "", "\\)": "", "\\[": "", "\\]": "",
}  # fmt: skip
_BY_LENGTH = sorted(_COMMANDS, key=len, reverse=True)
_COMMAND = re.compile(
    "(" + "|".join(re.escape(name) + (r"(?![a-zA-Z])" if name[-1].isalpha() else "") for name in _BY_LENGTH) + r") ?"
)
_SCRIPT = re.compile(r"([_^])\{\s*([^{}]*?)\s*\}")
_INDEX = re.compile(r"(?<=[^\W\d_])_(?=\d\b)")  # CO_2
_HTML_SCRIPT = re.compile(r"<(sub|sup)>([-+\w]{1,8})</\1>", re.IGNORECASE)
_INLINE = re.compile(r"(?<!\\)\$([^$]*[^$\\])\$")
_BOLD = re.compile(r"(?<![*\w])(\*\*|__)(?=\S)([^*_]+)(?<=\S)\1(?![*\w])")
_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def plain(text: str) -> str:
    """The text without its markup. Unknown commands are left as they are."""
    if "{,}" in text:
        text = text.replace("{,}", ",")
    if "\\" in text:
        text = _latex(text)
    if "{" in text:
        text = _SCRIPT.sub(lambda m: m[2].translate(_SUBSCRIPT) if m[1] == "_" else "^" + m[2], text)
    if "<s" in text or "<S" in text:
        text = _HTML_SCRIPT.sub(lambda m: m[2].translate(_SUBSCRIPT) if m[1].lower() == "sub" else "^" + m[2], text)
    if "**" in text or "__" in text:
        text = _BOLD.sub(r"\2", text)
    return _INDEX.sub("", text) if "_" in text else text


def _latex(text: str) -> str:
    text = _COMMAND.sub(lambda match: _COMMANDS[match[1]], _INLINE.sub(r"\1", text.replace("~", " ")))
    for _ in range(8):  # \boxed{\text{\frac{1}{2}}}: from the inside out
        before = text
        text = _GROUPS.sub(r"\1", _FRACTION.sub(_fraction, text))
        if text == before:
            break
    return text.strip()


def _fraction(match: re.Match[str]) -> str:
    top, bottom = match[2] or match[4], match[3] or match[5]
    return f"{match['before']} {top}/{bottom}" if match["before"] else f"{top}/{bottom}"
