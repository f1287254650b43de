"""recipes/paper_math.yaml: the paper's values, and what a run of them would need."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer, Qwen2Config

import main
from models.registry import TINY_FOLDER
from settings.arguments import parse_args
from settings.grpo_config import build_config, plan_steps
from tests.math_copies import save_math
from training.preparing import examine, load_data

RECIPE = Path(__file__).parent.parent / "recipes" / "paper_math.yaml"


def qwen2_5_math_7b() -> Qwen2Config:
    """The published configuration of Qwen2.5-Math-7B, written out."""
    return Qwen2Config(
        vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4, max_position_embeddings=4096, tie_word_embeddings=False, use_sliding_window=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, architectures=["Qwen2ForCausalLM"],
    )  # fmt: skip


def test_the_values_are_the_papers():
    args = parse_args(["--config", str(RECIPE), "--mode", "nsr"])
    assert (args.vlm_name, args.dataset_name, args.prompt) == ("qwen2-5-math-7b", "math", "boxed")
    prompts = args.batch_size * 8 * args.gradient_accumulation_steps * args.updates_per_rollout / args.num_generations
    assert (prompts, args.num_generations, args.updates_per_rollout) == (1024, 8, 4)
    assert prompts / args.updates_per_rollout == 256, "a mini-batch"
    assert plan_steps(args, 7500, 8)[0] == args.save_steps == 28
    assert args.max_completion_length + 1024 == 4096
    named = {"learning_rate": 1e-6, "temperature": 1.0, "clip": 0.2, "kl_beta": 0.0, "entropy_bonus": 1e-4,
             "no_lora": True, "held_out": 0.0, "reward": ["accuracy"], "lambda_psr": 0.1, "num_epochs": 20,
             "averaging": "token", "truncated": "wrong"}  # fmt: skip
    assert {name: getattr(args, name) for name in named} == named


def test_the_rate_is_constant_the_gradient_clipped_and_grpo_alone_has_a_kl_term(tmp_path):
    for mode, flags, beta in (("nsr", [], 0.0), ("grpo", ["--kl-beta", "0.001"], 0.001)):
        config = build_config(parse_args(["--config", str(RECIPE), "--mode", mode, *flags]), tmp_path, "fp32", False)
        assert (config.lr_scheduler_type, config.get_warmup_steps(1000), config.max_grad_norm) == ("constant", 0, 1.0)
        assert (config.beta, config.learning_rate, config.num_train_epochs) == (beta, 1e-6, 20)
    text = (RECIPE.parent.parent / "docs" / "math.md").read_text(encoding="utf-8")
    assert "--mode grpo --kl-beta 0.001" in " ".join(text.split())
    zero3 = yaml.safe_load((RECIPE.parent.parent / "deepspeed_zero3.yaml").read_text(encoding="utf-8"))
    assert zero3["deepspeed_config"]["gradient_clipping"] == config.max_grad_norm


def test_the_model_has_a_second_name_in_flags_and_files(tmp_path):
    assert parse_args(["--mode", "nsr", "--model-name", "tiny"]).vlm_name == "tiny"
    file = tmp_path / "r.yaml"
    file.write_text("vlm-name: tiny\nmodel_name: organism\n")
    with pytest.raises(ValueError, match="vlm_name is there twice"):
        parse_args(["--mode", "nsr", "--config", str(file)])


def test_what_the_recipe_needs_is_estimated_for_a_model_without_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    qwen2_5_math_7b().save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(TINY_FOLDER).save_pretrained(tmp_path / "model")
    data = save_math(tmp_path / "MATH", train=1030)
    line = f"--config {RECIPE} --mode nsr --model-name model --dataset-path {data} --estimate"
    line += " --gradient-accumulation-steps 256"  # one process for eight: the same updates
    assert main.main(line.split()) == 0
    said = capsys.readouterr().out
    assert "Model       7,615,616,512 parameters; 7,615,616,512 trained" in said
    assert "vision" not in said and "image" not in said and "--max-pixels" not in said
    assert "Updates     80 of 2048 completions of at most 3072 tokens" in said
    assert "80 GB" in said and "LoRA instead of --no-lora" in said


def test_without_a_held_out_share_and_a_subset_all_rows_are_trained_on(tmp_path):
    data = save_math(tmp_path / "MATH", train=60)
    for flags, sizes in (
        ("--held-out 0", (60, 0)),
        ("--held-out 0 --subset-size 20", (20, 0)),
        ("--held-out 0.1", (54, 6)),
    ):
        args = parse_args(f"--mode nsr --dataset-name math --dataset-path {data} {flags}".split())
        examine(args)
        assert tuple(map(len, load_data(args))) == sizes, flags
