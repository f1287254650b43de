"""How much of a policy's accuracy survives without the image: its samples beside those of the same policy, asked blind.

A policy that answers as well without looking has learned what charts tend to say, not to read them; and a gain over the
base model that is there blind too is no gain in seeing. Everything is paired, problem by problem.
"""

from collections.abc import Sequence

import numpy as np

from evaluation.intervals import TAILS, bootstrap_intervals, charts_agree, resampled_means
from evaluation.results import Results, by_k, common_tables, differences


def check(seeing: Sequence[Results], blind: Sequence[Results]) -> list[str]:
    """Why the blind files are not the seeing ones without the image, in order. ValueError where they cannot be."""
    for one in seeing:
        if one.without_image:
            raise ValueError(
                f"{one.path} was sampled without the image ({one.without_image}): name it after --blind, and after "
                "--compare what the same model says with the image"
            )
    for one in blind:
        if not one.without_image:
            raise ValueError(
                f"--blind {one.path}: nothing says that it was sampled without the image; sample the same model with "
                "generate_samples.py --without-image mask"
            )
    apart = [reason for pair in zip(seeing, blind, strict=True) for reason in differences(*pair)]
    for one, other in zip(seeing, blind, strict=True):
        mine, its = (results.part("model") for results in (one, other))
        if any(mine.get(name) != its.get(name) for name in ("fingerprint", "adapter")):
            apart.append(f"model ({one.path.name} and {other.path.name})")
    hows = list(dict.fromkeys(str(one.without_image) for one in blind))
    return list(dict.fromkeys(apart)) + ([f"--without-image {' and '.join(hows)}"] if len(hows) > 1 else [])


def surviving_share(
    seeing: np.ndarray, blind: np.ndarray, clusters: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:  # (K,), (K, 2)
    """The mean of `blind` (P, K) over that of `seeing` (P, K), and its interval: the same draws of charts for both.

    NaN where nothing is right seeing, for the interval in any draw. Where all charts agree in what is right blind, or
    in the difference, the exact bound of that (evaluation.intervals) is divided by the accuracy seen.
    """
    size, whole = seeing.shape[1], seeing.mean(axis=0)
    means = resampled_means(np.hstack([seeing, blind]), clusters)  # (B, 2 K)
    with np.errstate(divide="ignore", invalid="ignore"):
        share, drawn = blind.mean(axis=0) / whole, means[:, size:] / means[:, :size]
        bounds = np.quantile(drawn, TAILS, axis=0).T
        lost = bootstrap_intervals(seeing - blind, clusters, within=(-1.0, 1.0)) / whole[:, None]
        left = bootstrap_intervals(blind, clusters, within=(0.0, 1.0)) / whole[:, None]
    equal, alike = charts_agree(seeing - blind, clusters), charts_agree(blind, clusters)
    bounds[equal] = (1.0 - lost[:, ::-1])[equal]
    bounds[alike] = left[alike]
    bounds = np.maximum(bounds, 0.0)
    share[whole == 0] = np.nan
    bounds[~np.isfinite(bounds).all(axis=1) | (whole == 0)] = np.nan
    return share, bounds


def compared(seeing: Sequence[Results], blind: Sequence[Results], ks: list[int]) -> dict:
    """What is added to a comparison: "blind", every policy seeing and blind; of two also "gain", their difference."""
    pairs = zip("ab", seeing, blind, strict=False)
    content: dict = {"blind": {side: survival(one, other, ks) for side, one, other in pairs}}
    return content | ({"gain": gain(seeing, blind, ks)} if len(seeing) > 1 else {})


def survival(seeing: Results, blind: Results, ks: list[int]) -> dict:
    """One policy seeing and blind, as a JSON object: None for a share of nothing."""
    (with_image, without), clusters = common_tables([seeing, blind], ks)
    lost = with_image - without
    share, share_bounds = surviving_share(with_image, without, clusters)
    return {
        "without_image": blind.without_image,
        "num_problems": len(clusters),
        "num_clusters": len(set(clusters)),
        "seeing": by_k(ks, with_image.mean(axis=0)),
        "blind": by_k(ks, without.mean(axis=0)),
        "difference": by_k(ks, lost.mean(axis=0)),
        "intervals": by_k(ks, bootstrap_intervals(lost, clusters, within=(-1.0, 1.0))),
        "survives": by_k(ks, share),
        "survives_intervals": by_k(ks, share_bounds),
    }


def gain(seeing: Sequence[Results], blind: Sequence[Results], ks: list[int]) -> dict:
    """The gain of the first policy over the second, seeing and blind, and how much of it needs the image."""
    (a, b, blind_a, blind_b), clusters = common_tables([*seeing, *blind], ks)
    needs = (a - b) - (blind_a - blind_b)
    return {
        "num_problems": len(clusters),
        "seeing": by_k(ks, (a - b).mean(axis=0)),
        "blind": by_k(ks, (blind_a - blind_b).mean(axis=0)),
        "needs_the_image": by_k(ks, needs.mean(axis=0)),
        "intervals": by_k(ks, bootstrap_intervals(needs, clusters, within=(-2.0, 2.0))),
    }


def lines(content: dict) -> list[str]:
    """What is printed of `compared`; `content` also has the policies' names, "a" and "b"."""
    text = []
    for side, one in content["blind"].items():
        how, count = f"--without-image {one['without_image']}", one["num_problems"]
        text.append(f"{content[side]} seeing minus blind ({how}), {count} problems, paired 95 % intervals:")
        for k, value in one["difference"].items():
            x, y = 100 * one["seeing"][k], 100 * one["blind"][k]
            lost, share = _bounds(one["intervals"][k]), _share(one["survives"][k], one["survives_intervals"][k])
            text.append(f"  Pass@{k}: {x:.2f}% - {y:.2f}% = {100 * value:+.2f}   {lost}   survives: {share}")
    if "gain" in content:
        one = content["gain"]
        text.append(f"{content['a']} minus {content['b']}, seeing minus blind: what of the gain needs the image:")
        for k, value in one["needs_the_image"].items():
            x, y = 100 * one["seeing"][k], 100 * one["blind"][k]
            text.append(f"  Pass@{k}: {x:+.2f} - {y:+.2f} = {100 * value:+.2f}   {_bounds(one['intervals'][k])}")
    return text


def _bounds(bounds: Sequence[float]) -> str:
    return f"[{100 * bounds[0]:+.2f}, {100 * bounds[1]:+.2f}]"


def _share(value: float | None, bounds: Sequence[float] | None) -> str:
    if value is None:
        return "nothing is right seeing"
    return f"{100 * value:.0f}%" + (f" [{100 * bounds[0]:.0f}, {100 * bounds[1]:.0f}]" if bounds else "")
