"""Two methods on the same problems: the paired difference of Pass@k, and the problems that only one of them solves.

Pairing takes out what makes a problem hard for both, so the interval is far narrower than two separate ones suggest.
"""

import sys
from argparse import Namespace

from common.commands import name_some
from common.files import check_output, write_whole
from common.terminal import printable
from evaluation import blindness
from evaluation.intervals import charts_agree
from evaluation.json_stream import json_values
from evaluation.names import default_method
from evaluation.results import (
    Results,
    as_results,
    by_k,
    common_rows,
    common_tables,
    differences,
    find_file,
    paired_difference,
    read_results,
    to_text,
)
from evaluation.scoring import exact_line, fit_ks, load, parse_ks


def load_either(path: str, args: Namespace) -> Results:
    """A results file, or a samples file scored on the way."""
    found = find_file(path)
    first = next(json_values(found), None)
    if isinstance(first, dict) and "pass_at_k" in first and "eval" not in first:
        return read_results(found)
    samples, notes = load(path, args)
    for note in notes:
        print(printable(f"note: {found}: {note}"), file=sys.stderr)
    return as_results(samples, [1], default_method(found, samples.settings))


def labels_of(a: Results, b: Results) -> tuple[str, str]:
    """The methods' names, or the files' when both have one name, with as much of their folders as tells them apart."""
    if a.method != b.method:
        return a.method, b.method
    if a.path.stem != b.path.stem:
        return a.path.stem, b.path.stem
    one, other = (file.path.absolute().parts for file in (a, b))
    ends = (("/".join(one[-size:]), "/".join(other[-size:])) for size in range(1, 1 + max(len(one), len(other))))
    return next((pair for pair in ends if pair[0] != pair[1]), (a.path.stem, b.path.stem))  # else a file with itself


def compare(args: Namespace) -> int:
    asked = parse_ks(args.k_values)
    for flag, value in (("--metrics", args.metrics), ("--method-name", args.method_name)):
        if value:
            raise ValueError(f"{flag} goes with --samples-path and not with --compare; leave it out")
    paths = [*args.compare, *args.blind]
    output = check_output(args.output_path, [find_file(path) for path in paths]) if args.output_path else None
    everything = [load_either(path, args) for path in paths]
    seeing, blind = everything[: len(args.compare)], everything[len(args.compare) :]
    for results in everything:
        if not results.ids:
            raise ValueError(f"{results.path} holds no per-problem counts: compute it again with pass_at_k.py")
    apart = [*differences(*seeing)] if len(seeing) > 1 else []
    apart += blindness.check(seeing, blind) if blind else []
    if apart and not args.force:
        raise ValueError(
            f"{' and '.join(str(one.path) for one in everything)} differ in {'; '.join(apart)}: a paired difference "
            "needs one experiment (--force compares their common problems all the same)"
        )
    ks = fit_ks(asked, int(min(one.n.min() for one in everything)), args.drop_large_k)
    content, text = {"a": seeing[0].method, "k_values": ks}, []
    if len(seeing) > 1:
        content = compared(seeing[0], seeing[1], ks)
        text = lines(content)
    if blind:
        content |= blindness.compared(seeing, blind, ks)
        text += blindness.lines(content)
    print("\n".join(map(printable, text)))
    notes = [f"the runs differ in {reason}" for reason in apart] + [
        f"{one.path} was sampled without the image ({one.without_image}), which measures what can be guessed, not a "
        "method: --blind sets it beside the same model's samples with the image"
        for one in seeing
        if one.without_image
    ]
    for note in notes:
        print(printable(f"note: {note}"), file=sys.stderr)
    if output:
        write_whole(output, to_text(content | {"runs_differ_in": apart}))
        print(printable(f"✓ Comparison saved to {output}"))
    return 0


def compared(a: Results, b: Results, ks: list[int]) -> dict:
    """The comparison as one JSON object."""
    rows_a, rows_b = common_rows(a, b)
    mean, bounds = paired_difference(a, b, ks)
    labels = labels_of(a, b)
    solved = list(zip([a.ids[i] for i in rows_a], a.c[rows_a] > 0, b.c[rows_b] > 0, strict=True))
    (of_a, of_b), clusters = common_tables([a, b], ks)
    alike = charts_agree(of_a - of_b, clusters)
    return {
        **dict(zip("ab", labels, strict=True)),
        "num_problems": len(solved),
        "num_clusters": len(set(clusters)),
        "marked_by": a.metadata.get("marked_by"),
        "k_values": ks,
        "pass_at_k": {"a": by_k(ks, of_a.mean(axis=0)), "b": by_k(ks, of_b.mean(axis=0))},
        "difference": by_k(ks, mean),
        "intervals": by_k(ks, bounds),
        "exact_at": [k for k, same in zip(ks, alike, strict=True) if same],
        "only_a_solves": [name for name, x, y in solved if x and not y],
        "only_b_solves": [name for name, x, y in solved if y and not x],
    }


def lines(content: dict) -> list[str]:
    a, b = content["a"], content["b"]
    text = [f"{a} minus {b}, {content['num_problems']} problems, paired 95 % intervals in percentage points:"]
    for k in map(str, content["k_values"]):
        x, y = (100 * content["pass_at_k"][side][k] for side in "ab")
        low, high = (100 * bound for bound in content["intervals"][k])
        text.append(
            f"  Pass@{k}: {x:.2f}% - {y:.2f}% = {100 * content['difference'][k]:+.2f}   [{low:+.2f}, {high:+.2f}]"
        )
    text += [f"  marked by: {content['marked_by']}"] if content["marked_by"] else []
    text += [f"  {exact_line(content['exact_at'], content['num_clusters'])}"] if content["exact_at"] else []
    for side, label in (("a", a), ("b", b)):
        names = content[f"only_{side}_solves"]
        text.append(f"  only {label} solves {len(names)}" + (f": {name_some(names, 10)}" if names else ""))
    return text
