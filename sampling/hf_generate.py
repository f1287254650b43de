"""transformers' own `generate`, with the engine's interface: the slow way, to compare with.

The random numbers are torch's, seeded by (seed, problem, chunk): another chunk size gives other samples.
"""

from collections.abc import Mapping, Sequence

import torch

from sampling.engine import Samples
from sampling.random_streams import stream_key
from sampling.settings import SamplingSettings

CHUNK = 8


@torch.inference_mode()
def generate(
    model: torch.nn.Module,
    prompt_inputs: Mapping[str, torch.Tensor],
    *,
    n: int,
    settings: SamplingSettings,
    problem_id: str,
    eos_ids: Sequence[int],
    suppress: Sequence[int] = (),
    first_sample: int = 0,
    chunk: int | None = None,
) -> Samples:
    """`n` completions through `model.generate`, `chunk` at a time."""
    out, chunk = Samples([], [], []), chunk or CHUNK
    length = prompt_inputs["input_ids"].shape[1]
    for start in range(0, n, chunk):
        rows = min(chunk, n - start)
        torch.manual_seed(stream_key(settings.seed, f"{problem_id}\n{first_sample + start}") % 2**63)
        made = model.generate(
            **prompt_inputs, do_sample=True, num_return_sequences=rows, temperature=settings.temperature,
            top_k=settings.top_k, top_p=settings.top_p, repetition_penalty=1.0, max_new_tokens=settings.max_new_tokens,
            suppress_tokens=list(suppress) or None, eos_token_id=list(eos_ids), pad_token_id=eos_ids[0],
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        scores = model.compute_transition_scores(made.sequences, made.scores, normalize_logits=True)
        for ids, logprobs in zip(made.sequences[:, length:].tolist(), scores.tolist(), strict=True):
            end = next((at + 1 for at, token in enumerate(ids) if token in set(eos_ids)), None)
            out.token_ids.append(ids[:end])
            out.logprobs.append(logprobs[:end])
            out.truncated.append(end is None)
    return out
