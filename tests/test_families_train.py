"""Every model family through the real trainer, with images and LoRA, against gradients computed without the trainer."""

import pytest
import torch
from peft.tuners import lora
from trl import GRPOConfig

from charts.synthetic import synthetic_questions
from models.families import family_of
from models.inputs import prompt_inputs
from models.registry import lora_config, unsampleable_token_ids
from tests.families import FAMILIES, make_family
from trainers.trainer import TRAINERS
from training.rows import training_rows
from update import pass_room
from update.collate import IMAGE_COUNTS, Images

QUESTIONS = {question.id: question for question in synthetic_questions("train", 2)}
PIXELS = {"min_pixels": 3136, "max_pixels": 12544}


def accuracy(completions, completion_ids, **columns):
    """Right, wrong, right, wrong: both signs, whatever a random model says."""
    return [float(row % 2 == 0) for row in range(len(completion_ids))]


def family_trainer(
    family, folder, mode="w-reinforce", dtype=torch.float64, rewards=(accuracy,), config=None, **settings
):
    """A real trainer on a small random model of the family; `config` overrides the GRPOConfig."""
    model, processor = make_family(family, dtype=dtype)
    config = GRPOConfig(
        **{
            "output_dir": str(folder),
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 1,
            "num_generations": 2,
            "max_completion_length": 6,
            "loss_type": "dapo",
            "use_cpu": True,
            "bf16": False,
            "report_to": "none",
            "save_strategy": "no",
            "learning_rate": 1e-2,
            "gradient_checkpointing": settings.pop("gradient_checkpointing", False),
            "generation_kwargs": {"suppress_tokens": unsampleable_token_ids(model.config, processor)},
            **(config or {}),
        }
    )
    adapter = lora_config(model.config)
    adapter.init_lora_weights = False  # away from zero, so that both halves of the adapter have a gradient
    trainer = TRAINERS[mode](
        model=model,
        reward_funcs=list(rewards),
        args=config,
        train_dataset=training_rows(list(QUESTIONS), QUESTIONS, processor, prompt="short", **PIXELS),
        processing_class=processor,
        peft_config=adapter,
        **({"lambda_psr": 0.125} if mode == "w-reinforce" else {}),
        **settings,
    )
    trainer.model.to(dtype)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer, processor


def asked(question, processor):
    image = question.open_image() if question.open_image else None
    return prompt_inputs(processor, question, image, prompt="short", **PIXELS)


def rollout(trainer):
    """Two completions of each question; a random model hardly ever ends by itself, so the end token is put there."""
    rows, generate = trainer.train_dataset, trainer._generate_single_turn

    def ended(*args):
        return [[*ids[:5], trainer.eos_token_ids[0]] for ids in generate(*args)[0]], None

    trainer._generate_single_turn = ended
    return trainer._generate_and_score_completions([rows[0], rows[0], rows[1], rows[1]])


def adapter_gradients(trainer, loss):
    parameters = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    return parameters, torch.cat([gradient.flatten().double() for gradient in gradients])


def independent_loss(trainer, processor, batch):
    """-sum_i A_i log pi(y_i | x_i) / tokens, one unpadded row at a time through the processor, with a plain head."""
    model, total = trainer.model.get_base_model(), 0.0
    del model.forward  # TRL's patched forward with the fused head: back to the class's own
    for row, question in enumerate([q for q in QUESTIONS.values() for _ in range(2)]):
        inputs = asked(question, processor)
        kept = batch["completion_mask"][row].bool()
        completion = batch["completion_ids"][row][kept][None]
        prompt = inputs.pop("input_ids")
        ids = torch.cat([prompt, completion], 1)
        for name in family_of(processor).token_fields:
            inputs[name] = torch.cat([inputs[name], torch.zeros_like(completion)], 1)
        inputs.pop("attention_mask")
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(trainer.model.dtype)
        logp = model(input_ids=ids, **inputs).logits.log_softmax(-1)
        chosen = logp[0, prompt.shape[1] - 1 : -1].gather(-1, completion[0][:, None])
        total = total - batch["advantages"][row] * chosen.sum()
    return total / batch["completion_mask"].sum()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_adapter_gradient_of_every_family_is_the_formula(family, tmp_path):
    trainer, processor = family_trainer(family, tmp_path)
    batch = rollout(trainer)
    assert set(batch["advantages"].tolist()) == {0.125, -1.0}, "both signs must be there"
    parameters, got = adapter_gradients(trainer, trainer._compute_loss(trainer.model, batch))
    tower = family_of(trainer.model.config).tower
    assert parameters and all("language_model" in name and tower not in name for name in parameters)
    _, expected = adapter_gradients(trainer, independent_loss(trainer, processor, batch))
    assert expected.norm() > 0
    assert (got - expected).norm() <= 1e-6 * expected.norm()  # TRL's fused head computes in float32


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_a_step_with_gradient_checkpointing(family, tmp_path, monkeypatch):
    monkeypatch.setattr(pass_room, "is_known", lambda trainer: False)  # which would do without
    trainer, _ = family_trainer(family, tmp_path, mode="nsr", dtype=torch.float32, gradient_checkpointing=True)
    trainer.args.max_steps = 1
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    moved = {name for name, p in trainer.model.named_parameters() if not torch.equal(before[name], p)}
    assert moved and all("lora_" in name for name in moved)


@pytest.mark.parametrize("family", FAMILIES)
def test_rollouts_of_the_engine_come_from_the_distribution_that_is_trained(family, tmp_path):
    """Log-probability at the sampling distribution == the one TRL's own forward gives the same tokens."""
    trainer, processor = family_trainer(family, tmp_path, dtype=torch.float32, update="plain")
    trainer.generation_config.suppress_tokens = None  # suppressed tokens have no mass in sampling, a little in training
    from sampling import engine

    sampled, decode = [], engine.decode

    def keep(*args, **kwargs):
        parts = decode(*args, **kwargs)
        sampled.extend(row for part in parts for row in part.logprobs)
        return parts

    engine.decode = keep
    try:
        batch = rollout(trainer)
    finally:
        engine.decode = decode
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    keys = ("num_images", "num_tiles", *family_of(processor).fields)
    fields = {key: batch[key] for key in keys if key in batch}
    with torch.no_grad():
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, batch["completion_ids"].shape[1], **fields
        )
    assert len(sampled) == 4, "the engine has drawn them"
    for row, expected in enumerate(sampled):
        assert logps[row, :5].tolist() == pytest.approx(expected[:5], abs=2e-4)


def test_out_of_memory_in_a_rollout_halves_the_rows_at_once_and_draws_the_same(tmp_path, monkeypatch):
    """Not real exhaustion: a decode that refuses more than two rows, on the real engine."""
    from sampling import engine

    trainer, _ = family_trainer("qwen2_5_vl", tmp_path, dtype=torch.float32)
    expected = rollout(trainer)["completion_ids"]
    sizes, decode = [], engine.decode

    def small(model, requests, **options):
        sizes.append(sum(len(request.samples) for request in requests))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(model, requests, **options)

    monkeypatch.setattr(engine, "decode", small)
    trainer, _ = family_trainer("qwen2_5_vl", tmp_path, dtype=torch.float32)
    assert torch.equal(rollout(trainer)["completion_ids"], expected)
    assert sizes == [4, 2, 1, 1, 1, 1]


def test_a_rollout_leaves_every_weight_bit_for_bit_as_it_was(tmp_path):
    trainer, _ = family_trainer("qwen2_5_vl", tmp_path, dtype=torch.float32)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    rollout(trainer)
    assert all(torch.equal(before[name], p) for name, p in trainer.model.named_parameters())
    assert not any(module.merged for module in trainer.model.modules() if isinstance(module, lora.Linear))


@pytest.mark.parametrize("family", FAMILIES)
def test_trl_and_the_sampler_ask_with_the_same_tokens_and_pixels(family, tmp_path):
    """The prompt of training and of evaluation: same ids, image included."""
    trainer, processor = family_trainer(family, tmp_path, dtype=torch.float32)
    batch = rollout(trainer)
    images = Images({name: batch.get(name) for name in (*IMAGE_COUNTS, *family_of(processor).image_fields)})
    for row, question in zip((0, 2), QUESTIONS.values(), strict=True):
        expected = asked(question, processor)
        assert batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist() == expected["input_ids"][0].tolist()
        seen = images.of(row)
        assert seen and all(torch.equal(seen[name], expected[name]) for name in seen)
