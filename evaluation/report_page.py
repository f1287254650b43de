"""Samples files -> the text of report_page.html with their curves and their problems put in.

Nothing is loaded from elsewhere, everything is escaped: the data stand in the page as JSON whose "<" are written
\\u003c, and its script puts every text in as text, never as HTML.
"""

import html
import json
import re
from argparse import Namespace
from pathlib import Path

from evaluation.curves import caption, draw_curves
from evaluation.estimators import powers_of_two
from evaluation.gallery import Gallery
from evaluation.names import checked_labels, default_method
from evaluation.rendering import page_svg
from evaluation.results import as_results, differences
from evaluation.samples import read_samples, settle
from evaluation.styles import styles_for

PAGE = Path(__file__).with_name("report_page.html")


def gather(args: Namespace, paths: list[Path]) -> tuple:
    """Results and notes for the user per file, and per problem what the gallery shows."""
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
        "PICTURE": page_svg(draw_curves(results, labels, words=False)),
        "DATA": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub("@@([A-Z]+)@@", lambda place: parts[place[1]], PAGE.read_text(encoding="utf-8"))
