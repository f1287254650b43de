"""NGRPO by hand, its identities, and the clip range that is its own."""

import json

import pytest
import torch

import main
from settings.arguments import parse_args
from settings.grpo_config import build_config
from tests.scored import NAN, scored
from trainers.ngrpo import NGRPO
from training.report import own_defaults
from update.ratios import RatioMetric

pytestmark = pytest.mark.methods


def weights(correct, generations=None):
    return NGRPO().weights(scored(torch.tensor(correct, dtype=torch.float64), generations))


@pytest.mark.parametrize(
    ("correct", "right", "wrong"),
    [
        ([1, 1, *[0] * 6], 4 / 3, -2 / 3),  # m = 1/3, deviation 1/2
        ([0] * 8, None, -1 / 3),  # m = 1/9, deviation 1/3
        ([1] * 8, 0, None),
        ([1, 0, NAN], 0.57735, -1.1547),  # of 1, 0 and the virtual 1: m = 2/3, deviation sqrt(1/3)
        ([NAN, NAN], None, None),
    ],
)
def test_weights_by_hand(correct, right, wrong):
    expected = [{1: right, 0: wrong}.get(r, 0) for r in correct]
    assert weights(correct).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [1, 2, 8, 64])
def test_the_weights_of_a_group_add_up_to_less_than_zero_unless_all_are_right(size):
    for right in range(size + 1):
        total = weights([1] * right + [0] * (size - right)).sum()
        assert total == 0 if right == size else total < 0


def test_with_the_virtual_completion_drawn_it_is_grpo_of_correctness():
    """The weights of a group, and of one more right completion, are GRPO's of the larger group."""
    r = torch.tensor([1.0, 0, 0, 0, 1, 1, 0], dtype=torch.float64)
    grpo = (r - r.mean()) / (r.std() + 1e-6)
    assert weights(r[1:].tolist()).tolist() == pytest.approx(grpo[1:].tolist(), abs=1e-12)


def config(line, folder):
    args = parse_args(f"--mode {line} --learning-rate 1e-5 --max-completion-length 8".split())
    args.gradient_accumulation_steps = 2
    built = build_config(args, folder, "fp32", False)
    return built.epsilon, built.epsilon_high, own_defaults(args)


def test_its_clip_range_is_its_own_unless_a_flag_says_otherwise(tmp_path):
    told = "--mode ngrpo has defaults of its own: --clip 0.16 --clip-high 0.24"
    assert config("ngrpo", tmp_path) == (0.16, 0.24, told)
    assert config("ngrpo --clip 0.2", tmp_path) == (0.2, None, None), "a range that is given is one at both ends"
    assert config("ngrpo --clip 0.2 --clip-high 0.3", tmp_path) == (0.2, 0.3, None)
    assert config("nsr", tmp_path) == (0.2, None, None), "TRL takes the lower one for both"
    assert config("nsr --clip-high 0.28", tmp_path) == (0.2, 0.28, None)


def test_a_file_of_settings_wins_over_the_defaults_of_a_mode(tmp_path):
    (tmp_path / "run.yaml").write_text("mode: ngrpo\nclip: 0.3\n")
    args = parse_args(["--config", str(tmp_path / "run.yaml")])
    assert (args.clip, args.clip_high) == (0.3, None)


def test_its_line_counts_the_prompts_that_grpo_would_leave_out():
    batch = scored(torch.tensor([1.0, 0, 0, 0, NAN, NAN]), 2)
    assert NGRPO().line(batch) == "NGRPO: 1/3 prompts without a right completion, with weight"


def test_a_run_says_its_defaults_uses_them_and_has_the_ratio_cap_of_its_flag(tmp_path, monkeypatch, capsys):
    seen, compute = [], RatioMetric.compute_loss

    def spy(trainer, *args, **kwargs):
        seen.append((trainer.epsilon_low, trainer.epsilon_high, trainer.negative_ratio_cap))
        return compute(trainer, *args, **kwargs)

    monkeypatch.setattr(RatioMetric, "compute_loss", spy)
    monkeypatch.chdir(tmp_path)
    line = "--mode ngrpo --negative-ratio-cap 1.5 --vlm-name tiny --dataset-name synthetic --subset-size 4 --held-out 0"
    line += " --max-completion-length 8 --max-steps 1 --report-to none --updates-per-rollout 2"
    assert main.main(line.split()) == 0
    assert "--mode ngrpo has defaults of its own: --clip 0.16 --clip-high 0.24" in capsys.readouterr().out
    assert set(seen) == {(0.16, 0.24, 1.5)}
    (run,) = (tmp_path / "grpo-start-ckpts").iterdir()
    saved = json.loads((run / "training_settings.json").read_text())["settings"]
    assert (saved["clip"], saved["clip_high"], saved["negative_ratio_cap"]) == (0.16, 0.24, 1.5)
