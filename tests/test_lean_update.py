"""The lean update against the plain one: the same gradients, whatever leaves and however rows are packed."""

import pytest
import torch
from transformers import TrainerCallback

from sampling.engine import base_model
from tests import plain_head
from tests.test_families_train import family_trainer

# two questions x four completions in four micro-batches of two rows, one optimiser step
STEP = {"num_generations": 4, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "max_steps": 1,
        "max_grad_norm": 0.0}  # fmt: skip


class Gradients(TrainerCallback):
    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        named = sorted((name, p) for name, p in model.named_parameters() if p.requires_grad)
        self.steps.append(torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten().clone()
                                     for _, p in named]))  # fmt: skip


def ids_of(lengths, seed=0):
    """Completions of text tokens; the last is the end token unless the length is odd (then it is cut)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(20, 400, (length,), generator=generator).tolist() for length in lengths]


def train(folder, update, lengths, right, *, family="qwen2_5_vl", plain=True, mode="w-reinforce", **options):
    """Gradients of every optimiser step, the trainer afterwards, and the tokens its forward passes computed."""

    def accuracy(completions, completion_ids, **columns):
        return [None if right[i] is None else float(right[i]) for i in order]

    order = range(len(lengths))
    mode_settings = {"normaliser": options.pop("normaliser")} if "normaliser" in options else {}
    trainer, _ = family_trainer(
        family, folder, mode, rewards=[accuracy], update=update, config={**STEP, **options}, **mode_settings
    )
    completions = [[*ids, trainer.eos_token_ids[0]] for ids in ids_of([length - 1 for length in lengths])]
    trainer._generate_single_turn = lambda prompt_ids, *rest: (completions, None)
    model, tokens = base_model(trainer.model), []
    if plain:
        plain_head.use(model)
    forward = model.forward
    model.forward = lambda *args, **inputs: (tokens.append(inputs["input_ids"].numel()), forward(*args, **inputs))[1]
    gradients = Gradients()
    trainer.add_callback(gradients)
    trainer.train()
    return gradients.steps, trainer, sum(tokens)


def gap(one, other):
    return (one - other).norm() / max(other.norm(), 1e-300)


LENGTHS = [6, 2, 4, 1, 5, 5, 3, 6]
RIGHT = [1, 0, 0, 0, 0, 1, 1, None]


@pytest.mark.parametrize("normaliser", ["all", "kept"])
@pytest.mark.parametrize("averaging", ["dapo", "grpo"])
@pytest.mark.parametrize("mode", ["grpo", "psr", "nsr", "w-reinforce"])
def test_gradients_equal_the_plain_path_in_every_mode(mode, averaging, normaliser, tmp_path):
    if mode == "grpo" and normaliser == "kept":
        pytest.skip("GRPO has no kept normaliser")
    options = {"mode": mode, "loss_type": averaging, "normaliser": normaliser}
    if mode == "grpo":
        del options["normaliser"]
    (plain,), _, computed = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, **options)
    (lean,), _, less = train(tmp_path / "lean", "shared", LENGTHS, RIGHT, **options)
    assert plain.norm() > 0 and gap(lean, plain) < 1e-9
    assert less < computed / 2
