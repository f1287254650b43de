"""A model that computes in its own precision throughout, so that float64 means float64.

TRL's fused head and the families' RMS norms compute in float32: inputs that agree to 1e-16 would be rounded apart.
"""

from __future__ import annotations

import types

import torch

from tests import one_layer


def use(model: torch.nn.Module) -> None:
    """`model(..., labels or shift_labels, fused_lm_head=True)` now scores with log_softmax, differentiably."""

    def forward(labels=None, shift_labels=None, fused_lm_head=False, **inputs):
        hidden = model.model(**inputs, use_cache=False).last_hidden_state
        logp = model.lm_head(hidden).log_softmax(-1)
        if shift_labels is None:
            logp, shift_labels = logp[:, :-1], labels[:, 1:]
        scored = shift_labels != -100
        chosen = logp.gather(-1, shift_labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        entropy = -(logp.exp() * logp).sum(-1)
        return types.SimpleNamespace(
            log_probs=chosen.masked_fill(~scored, 0.0), entropy=entropy.masked_fill(~scored, 0.0)
        )

    model.forward = forward
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(_norm, module)


def rollout(trainer, completions: list[str]) -> dict:
    """The rollout batch of these completions of one prompt, and the trainer ready for one update by hand in float64."""
    one_layer.fix_rollouts(trainer, completions)
    trainer.model = trainer.model.double().train()
    trainer.current_gradient_accumulation_steps = 1
    use(trainer.model)
    return trainer._generate_and_score_completions([{"prompt": "ask"}] * len(completions))


def _norm(self, hidden):
    return self.weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
