"""How every figure looks: one colour, marker and line for each method, wherever it is drawn.

A method's own style stands in its file under trainers/; here are those of the untrained model and of what has no name.

The colours are told apart by readers with any common colour blindness, the markers and lines in black and white.
"""

from dataclasses import asdict

import trainers
from evaluation.names import method_key, methods_named

STYLES: dict[str, dict] = {
    "base": {"color": "#7f7f7f", "marker": "X", "linestyle": (0, (2.6, 1.6))},
    **{method_key(name): asdict(method.style) for name, method in trainers.METHODS.items()},
}
OTHERS: list[dict] = [
    {"color": "#e69f00", "marker": "v", "linestyle": "-"},
    {"color": "#56b4e9", "marker": "P", "linestyle": (0, (7, 1.5, 1.2, 1.5))},
    {"color": "#332288", "marker": "<", "linestyle": (0, (6.5, 1.5))},
    {"color": "#882255", "marker": ">", "linestyle": (0, (1.2, 1.1))},
    {"color": "#999933", "marker": "p", "linestyle": "-"},
]
TEXT, MUTED, GRID, WARNING = "#1a1a1a", "#595959", "#dcdcdc", "#b30000"
RC = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.0,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": MUTED, "axes.labelcolor": TEXT,
    "axes.unicode_minus": True, "axes.axisbelow": True, "axes.titlesize": 9.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "figure.titlesize": 9.5, "text.color": TEXT, "text.parse_math": False,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": TEXT, "ytick.labelcolor": TEXT,
    "legend.edgecolor": "none", "legend.framealpha": 0.85, "lines.linewidth": 1.6, "lines.markersize": 5.4,
    "svg.fonttype": "none", "svg.hashsalt": "decomposed", "pdf.fonttype": 42,
}  # fmt: skip


def styles_for(labels: list[str], methods: list[str]) -> list[dict]:
    """A style for each curve: its method's own the first time the method occurs, one of the spare ones otherwise."""
    taken: set[str] = set()
    spare = iter(OTHERS * (1 + len(labels) // len(OTHERS)))
    styles = []
    for label, method in zip(labels, methods, strict=True):
        keys = [method_key(method), *sorted(methods_named(label)), *sorted(methods_named(method))]
        key = next((key for key in keys if key in STYLES and key not in taken), None)
        if key:
            taken.add(key)
        styles.append(STYLES[key] if key else next(spare))
    return styles
