"""Samples files -> one self-contained HTML page: the Pass@k picture and a gallery of problems with their answers.

    python evaluation/report.py samples_base.json samples_grpo.json samples_nsr.json --output-path report.html

Nothing is loaded from elsewhere, everything is escaped: the data stand in the page as JSON whose "<" are written
\\u003c, and its script puts every text in as text, never as HTML.
"""

from __future__ import annotations

import html
import json
import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a script: imports start at the project root, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.commands import Parser, check_output, exit_code
from common.files import write_whole
from common.terminal import printable, unfailing_output

PAGE = Path(__file__).with_name("report_page.html")


def parse_args(argv: Sequence[str] | None = None) -> Namespace:
    parser = Parser(prog="report.py", description="A page with the Pass@k picture and all problems with their answers.")
    add = parser.add_argument
    add("samples", nargs="+", metavar="SAMPLES", help="samples files, one per method (*.settings.json are passed over)")
    add("--output-path", default="report.html", help="page to write (default: report.html)")
    add("--labels", nargs="+", help="one per file, in their order (default: the methods stored in them)")
    add(
        "--marks", choices=["correct", "correct_strict"], default="correct", help="which marks count (default: correct)"
    )
    add("--title", default="Pass@k report", help="title of the page")
    add("--completions", type=int, default=6, metavar="N", help="full completions kept per problem and method (6)")
    add("--image-size", type=int, default=480, metavar="PIXELS", help="longest side of an embedded picture (480)")
    add("--force", action="store_true", help="show runs on different problem sets or settings; the page says so")
    return parser.parse_args(argv)


def svg_of(figure) -> str:
    """The figure as SVG for the inside of a page, its colours following the page's light or dark scheme."""
    import io

    import matplotlib

    from evaluation.fonts import fit_fonts, without_glyph_warnings
    from evaluation.styles import GRID, MUTED, RC, TEXT

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


def gather(args: Namespace, paths: list[Path]) -> tuple:
    """Results and notes for the user per file, and per problem what the gallery shows."""
    from evaluation.estimators import powers_of_two
    from evaluation.gallery import Gallery
    from evaluation.pass_at_k import default_method
    from evaluation.results import as_results
    from evaluation.samples import read_samples, settle

    gallery = Gallery(completions=args.completions, image_size=args.image_size)
    results, notes = [], []
    for place, path in enumerate(paths):
        gallery.begin(place, path.parent)
        samples = read_samples(path, marks=args.marks, visit=gallery.visit)
        gallery.unsampled(samples.unsampled)
        notes.append(settle(samples, missing="skip", ragged="min"))
        ks = powers_of_two(int(samples.n.min()))
        results.append(as_results(samples, ks, default_method(path, samples.settings)))
    return results, notes, gallery


def page(args: Namespace, paths: list[Path]) -> str:
    """The whole page."""
    from evaluation.curves import caption, draw_curves
    from evaluation.plotting import checked_labels
    from evaluation.results import differences
    from evaluation.styles import styles_for

    results, notes, gallery = gather(args, paths)
    labels = checked_labels(args.labels, [one.method for one in results], paths)
    apart = list(dict.fromkeys(reason for one in results[1:] for reason in differences(results[0], one)))
    if apart and not args.force:
        raise ValueError(
            f"the runs differ in {'; '.join(apart)}: they do not belong on one page (--force shows them and says so)"
        )
    warnings = [f"Not one experiment: the runs differ in {'; '.join(apart)}."] if apart else []
    warnings += [f"{label}: {note}." for label, told in zip(labels, notes, strict=True) for note in told]
    colors = [style["color"] for style in styles_for(labels, [one.method for one in results])]
    methods = [
        {"label": label, "color": color, "curve": {k: [one.pass_at_k[k], *one.intervals[k]] for k in one.k_values}}
        for one, label, color in zip(results, labels, colors, strict=True)
    ]
    data = {
        "methods": methods,
        "ks": sorted({k for one in results for k in one.k_values}),
        **gallery.content(len(paths)),
    }
    parts = {
        "TITLE": html.escape(args.title),
        "CAPTION": html.escape(caption(results, apart)),
        "WARNINGS": "".join(f'<p class="warning">{html.escape(text)}</p>' for text in warnings),
        "PICTURE": svg_of(draw_curves(results, labels, words=False)),
        "DATA": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub("@@([A-Z]+)@@", lambda place: parts[place[1]], PAGE.read_text(encoding="utf-8"))


def run(args: Namespace) -> int:
    from evaluation.results import find_file

    paths = [find_file(path) for path in args.samples if not path.endswith(".settings.json")]
    if not paths:
        raise ValueError("no samples file among the arguments (only *.settings.json)")
    for name, value, least in (("completions", args.completions, 0), ("image-size", args.image_size, 16)):
        if value < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")
    output = check_output(args.output_path, paths)
    text = page(args, paths)
    write_whole(output, text)
    print(printable(f"✓ Report saved to {output} ({len(text) / 1e6:.1f} MB)"))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    unfailing_output()
    sys.exit(main())
