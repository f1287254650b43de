"""pass_at_k.py --compare ... --blind: what survives without the image, by hand and against a loop over charts."""

import json

import numpy as np
import pytest

from evaluation.blindness import surviving_share
from evaluation.intervals import RESAMPLES, SEED, cluster_codes
from evaluation.pass_at_k import main
from tests.test_pass_at_k import fails, of_counts, write


def policy(tmp_path, name, counts, blind=None, model="m", n=4, **more):
    """A samples file; `blind`: how its image was taken away."""
    settings = {"method": name, "model": {"fingerprint": model, "adapter": None}, "sampling": {"temperature": 1.0}}
    settings |= {"without_image": blind} if blind else {}
    path = tmp_path / f"samples_{name}{f'_{blind}' if blind else ''}.json"
    return write(path, of_counts(counts, n, **more), settings)


@pytest.fixture
def files(tmp_path):
    """NSR and base, seeing and masked: Pass@1 of 10/16, 6/16, 4/16, 3/16."""
    return (
        policy(tmp_path, "nsr", [4, 3, 2, 1], model="trained"),
        policy(tmp_path, "base", [3, 2, 1, 0]),
        policy(tmp_path, "nsr", [2, 1, 1, 0], "mask", model="trained"),
        policy(tmp_path, "base", [1, 1, 0, 1], "mask"),
    )


def compared(tmp_path, capsys, *words):
    output = tmp_path / "compared.json"
    capsys.readouterr()
    assert main([*map(str, words), "--output-path", str(output)]) == 0
    captured = capsys.readouterr()
    return json.loads(output.read_text()), captured.out, captured.err


def test_accuracy_seeing_and_blind_their_difference_and_what_survives(files, tmp_path, capsys):
    a, b, blind_a, blind_b = files
    saved, printed, errors = compared(tmp_path, capsys, "--compare", a, b, "--blind", blind_a, blind_b)
    nsr, base = saved["blind"]["a"], saved["blind"]["b"]
    assert (nsr["seeing"]["1"], nsr["blind"]["1"], nsr["difference"]["1"]) == (10 / 16, 4 / 16, 6 / 16)
    assert nsr["survives"]["1"] == pytest.approx(0.4) and base["survives"]["1"] == pytest.approx(0.5)
    assert nsr["without_image"] == "mask" and nsr["num_problems"] == 4
    low, high = nsr["survives_intervals"]["1"]
    assert 0 <= low < 0.4 < high < 1
    assert saved["gain"]["seeing"]["1"] == 4 / 16 and saved["gain"]["blind"]["1"] == 1 / 16
    assert saved["gain"]["needs_the_image"]["1"] == 3 / 16
    assert "NSR seeing minus blind (--without-image mask), 4 problems" in printed
    assert "Pass@1: 62.50% - 25.00% = +37.50" in printed and "survives: 40% [" in printed
    assert "Pass@1: +25.00 - +6.25 = +18.75" in printed
    assert "Pass@1: 62.50% - 37.50% = +25.00" in printed, "the comparison itself is there as ever"
    assert errors == ""
    paired = [(4 - 2) / 4, (3 - 1) / 4, (2 - 1) / 4, (1 - 0) / 4]
    low, high = nsr["intervals"]["1"]
    assert min(paired) <= low < np.mean(paired) < high <= max(paired), "paired: no wider than the differences are"


def test_one_policy_alone(files, tmp_path, capsys):
    a, _, blind_a, _ = files
    results = tmp_path / "results_nsr_blind.json"
    assert main(["--samples-path", str(blind_a), "--output-path", str(results)]) == 0
    assert "NSR (blind): 4 problems" in (out := capsys.readouterr().out) and "asked without the image" in out
    assert json.loads(results.read_text())["metadata"]["without_image"] == "mask"
    saved, printed, _ = compared(tmp_path, capsys, "--compare", a, "--blind", results)
    assert saved["blind"]["a"]["survives"]["1"] == pytest.approx(0.4) and "gain" not in saved
    assert printed.count("Pass@1") == 1


def test_nothing_right_leaves_no_share_and_nothing_right_blind_an_exact_bound(tmp_path, capsys):
    nothing = policy(tmp_path, "psr", [0, 0, 0, 0]), policy(tmp_path, "psr", [0, 1, 0, 0], "mask")
    saved, printed, _ = compared(tmp_path, capsys, "--compare", nothing[0], "--blind", nothing[1])
    assert saved["blind"]["a"]["survives"]["1"] is None and "survives: nothing is right seeing" in printed
    all_lost = policy(tmp_path, "nsr", [4, 4, 2, 2]), policy(tmp_path, "nsr", [0, 0, 0, 0], "mask")
    saved, *_ = compared(tmp_path, capsys, "--compare", all_lost[0], "--blind", all_lost[1])
    unseen = 1 - 0.05 ** (1 / 4)
    assert saved["blind"]["a"]["survives_intervals"]["1"] == pytest.approx([0, unseen / 0.75])
    same = policy(tmp_path, "grpo", [4, 4, 2, 2]), policy(tmp_path, "grpo", [4, 4, 2, 2], "mask")
    saved, *_ = compared(tmp_path, capsys, "--compare", same[0], "--blind", same[1])
    assert saved["blind"]["a"]["survives"]["1"] == 1
    assert saved["blind"]["a"]["survives_intervals"]["1"] == pytest.approx([1 - unseen / 0.75, 1 + unseen / 0.75])


def test_the_share_is_bootstrapped_over_charts_with_the_same_draws_for_both():
    rng = np.random.default_rng(3)
    clusters = [f"chart {i // 3}" for i in range(60)]
    seeing, blind = rng.random((60, 2)), 0.4 * rng.random((60, 2))
    share, bounds = surviving_share(seeing, blind, clusters)
    assert share == pytest.approx(blind.mean(axis=0) / seeing.mean(axis=0))
    codes, draws, found = cluster_codes(clusters), np.random.default_rng(SEED), []
    for drawn in draws.integers(20, size=(RESAMPLES, 20)):
        rows = np.concatenate([np.flatnonzero(codes == chart) for chart in drawn])
        found.append(blind[rows].mean(axis=0) / seeing[rows].mean(axis=0))
    assert bounds == pytest.approx(np.quantile(found, [0.025, 0.975], axis=0).T)


def test_a_blind_file_compared_as_a_method_is_remarked_on(files, tmp_path, capsys):
    a, b, blind_a, blind_b = files
    for pair, told in (((a, blind_a), 1), ((blind_a, a), 1), ((blind_a, blind_b), 2), ((a, b), 0)):
        _, printed, errors = compared(tmp_path, capsys, "--compare", *pair)
        assert errors.count("was sampled without the image (mask)") == told
        assert printed.count("(blind)") >= told


def test_what_is_no_comparison_of_seeing_and_blind_is_refused(files, tmp_path, capsys):
    a, b, blind_a, blind_b = files
    assert "takes two files, or one together with --blind; there are 1" in fails(capsys, "--compare", a)
    assert "there are 3" in fails(capsys, "--compare", a, b, a, "--blind", blind_a, blind_b, blind_a)
    assert "in their order; there are 1 for 2" in fails(capsys, "--compare", a, b, "--blind", blind_a)
    assert "--blind goes with --compare" in fails(capsys, "--samples-path", a, "--blind", blind_a)
    assert "nothing says that it was sampled without" in fails(capsys, "--compare", a, "--blind", b)
    assert "name it after --blind" in fails(capsys, "--compare", blind_a, "--blind", blind_a)
    assert "model (samples_nsr.json and samples_base_mask.json)" in fails(
        capsys, "--compare", a, b, "--blind", blind_b, blind_a
    )
    removed = policy(tmp_path, "base", [1, 0, 0, 0], "remove")
    told = fails(capsys, "--compare", a, b, "--blind", blind_a, removed)
    assert "--without-image mask and remove" in told and "--force" in told
    other = policy(tmp_path, "nsr", [1, 0, 0], "remove", model="trained")
    assert "differ in problem set" in fails(capsys, "--compare", a, "--blind", other)
    assert "also an input" in fails(capsys, "--compare", a, "--blind", blind_a, "--output-path", blind_a)
    saved, _, errors = compared(tmp_path, capsys, "--compare", a, "--blind", other, "--force")
    assert saved["blind"]["a"]["num_problems"] == 3 and "the runs differ in problem set" in errors


def test_k_goes_up_to_the_fewest_samples(files, tmp_path, capsys):
    a, _, _, _ = files
    fewer = policy(tmp_path, "nsr", [1, 1, 0, 0], "remove", model="trained", n=2)
    saved, *_ = compared(tmp_path, capsys, "--compare", a, "--blind", fewer, "--force")
    assert saved["k_values"] == [1, 2]
    assert "4 is more than the 2 samples" in fails(
        capsys, "--compare", a, "--blind", fewer, "--force", "--k-values", "4"
    )
