"""Many completions of one prompt, or of several, in one decode loop.

Each prompt, with its image, is computed once; its keys and values are kept once (`shared_prefix`); on the CPU
completions that agree so far are computed once too (`branches`); rows that have ended leave the batch; every row's
random stream depends only on (seed, problem, sample) (`random_streams`). A model whose attention cannot be redirected
decodes on copies of the prompt's cache instead (`copied_prefix`): same tokens, more memory. On a GPU, models of the
known families decode in steps of fixed shape through layers written for it (`static_step`, `decoder_layer`); everywhere
else the model's own layers do (`own_layers`).

Which rows share a batch changes the last bits of a matrix product, and so could change a token only where a uniform
number falls within those last bits of a boundary between two tokens. In float32 on the CPU even the bits agree as long
as the same prompts share it: the matrix products of a row do not depend on the number of rows once there are `MIN_ROWS`
of them, so smaller batches are filled up. In bfloat16 on an accelerator near ties may still flip between different
chunk sizes, and everywhere between different prompts beside it (they are padded to the longest).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

import torch

from common.terminal import first_line
from sampling import own_layers, static_step
from sampling.batch import Request, Samples
from sampling.known_layers import refusal
from sampling.own_layers import LOOK_EVERY
from sampling.prefill import Prompt, prefill_each
from sampling.settings import SamplingSettings
from sampling.shared_prefix import SharedPrefixCache, shared_prefix_attention, supports

logger = logging.getLogger(__name__)
Wanted = tuple[str, Mapping[str, torch.Tensor], range]  # problem id, a prompt's model inputs, numbers of completions
MOST_APART, MOST_APART_IN_HALF = 0.01, 0.3  # total variation between fixed step and own layers; above it is a fault


def sample(
    model: torch.nn.Module, prompt_inputs: Mapping[str, torch.Tensor], *, problem_id: str, **options: Any
) -> Samples:
    """`n` completions of one prompt (batch of one, no padding); `options` as for `sample_each`."""
    return sample_each(model, [(problem_id, prompt_inputs)], **options)[0]


@torch.no_grad()
def sample_each(
    model: torch.nn.Module,
    prompts: Sequence[tuple[str, Mapping[str, torch.Tensor]]],
    *,
    n: int,
    settings: SamplingSettings,
    eos_ids: Sequence[int],
    suppress: Sequence[int] = (),
    first_sample: int = 0,
    chunk: int | None = None,
    on_chunk: Callable[[int], None] | None = None,
) -> list[Samples]:
    """`n` completions of every prompt, at most `chunk` rows at a time, which may belong to several prompts.

    `prompts`: (problem id, model inputs: a batch of one without padding). Samples are numbered from `first_sample`; the
    same numbers give the same samples however they are grouped, but for near ties (see above). Out of memory halves the
    chunk and tries what is left again; `on_chunk` is then told the chunk that worked. Inputs may be on another device.
    """
    wanted = [(name, inputs, range(first_sample, first_sample + n)) for name, inputs in prompts]
    most = min(chunk or n * len(prompts), n * len(prompts))
    with _evaluating(model):
        samples, fitted = decode_in_parts(model, wanted, most, settings=settings, eos_ids=eos_ids, suppress=suppress)
    if on_chunk is not None and fitted < most:
        on_chunk(fitted)
    return samples


def decode_in_parts(
    model: torch.nn.Module, wanted: Sequence[Wanted], most: int, **options: Any
) -> tuple[list[Samples], int]:
    """(One `Samples` for each that is wanted, the completions decoded at once): `most`, halved when out of memory.

    `options` are those of `decode`. A prompt is computed when its first completion is due, and let go after its last.
    """
    left = [(which, samples) for which, (_, _, samples) in enumerate(wanted)]
    computed: dict[int, Prompt] = {}
    drawn: list[list[Samples]] = [[] for _ in wanted]
    while left:
        part, rest = _first_rows(left, most)
        try:
            done = _decode_part(model, wanted, part, computed, **options)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if most == 1 or not computed or not is_out_of_memory(error):  # not computed: one prompt is too much
                raise
            rows = sum(len(samples) for _, samples in part)
            most = -(-rows // 2)
            logger.warning("out of memory with %d completions at once; going on with %d", rows, most)
        else:
            for (which, _), samples in zip(part, done, strict=True):
                drawn[which].append(samples)
            for which, _ in part:
                if which not in dict(rest):
                    del computed[which]
            left = rest
            continue
        computed.clear()  # outside the handler, whose traceback holds the step's tensors
        free_memory()
    return [_joined(parts) for parts in drawn], most


def _decode_part(
    model: torch.nn.Module,
    wanted: Sequence[Wanted],
    part: Sequence[tuple[int, range]],
    computed: dict[int, Prompt],
    **options: Any,
) -> list[Samples]:
    """The samples of a part; `computed` gains its prompts."""
    new = [which for which, _ in part if which not in computed]
    for place, prompt in prefill_each(model, [wanted[which][1] for which in new]):
        computed[new[place]] = prompt
    return decode(model, [Request(computed[which], wanted[which][0], taken) for which, taken in part], **options)


def _first_rows(wanted: list[tuple[int, range]], most: int) -> tuple[list[tuple[int, range]], list[tuple[int, range]]]:
    """(The first `most` samples of all that are wanted, the others); the samples of a prompt may be parted."""
    part: list[tuple[int, range]] = []
    for at, (which, samples) in enumerate(wanted):
        taken = samples[:most]
        part.append((which, taken))
        most -= len(taken)
        if most == 0:
            rest = samples[len(taken) :]
            return part, [*([(which, rest)] if rest else []), *wanted[at + 1 :]]
    return part, []


def _joined(parts: list[Samples]) -> Samples:
    return Samples(
        [row for part in parts for row in part.token_ids],
        [row for part in parts for row in part.logprobs],
        [row for part in parts for row in part.truncated],
        [row for part in parts for row in part.entropies or []] or None,
    )


@torch.no_grad()
def decode(
    model: torch.nn.Module,
    requests: Sequence[Request],
    *,
    settings: SamplingSettings,
    eos_ids: Sequence[int],
    suppress: Sequence[int] = (),
    copied: bool | None = None,
    entropies: bool = False,
    look_every: int | None = None,
    static: bool | None = None,
) -> list[Samples]:
    """The completions of all requests, decoded together; one `Samples` a request.

    Ended rows are looked for every `look_every` steps: by default each step on the CPU, where it costs nothing, and
    every eighth on a GPU, which would have to be waited for. `static`: in steps of fixed shape, by default where
    `decodes_static` says so.
    """
    model = base_model(model)
    options: dict[str, Any] = {"settings": settings, "eos_ids": eos_ids, "suppress": suppress, "entropies": entropies}
    if static or (static is None and not copied and decodes_static(model)):
        samples = _decode_static(model, requests, look_every or LOOK_EVERY, must=bool(static), **options)
        if samples is not None:
            return samples
    copied = not can_share(model) if copied is None else copied
    options |= {"copied": copied, "look_every": look_every}
    if copied:  # copied caches of unequal prompts do not fit into one batch
        return [one for request in requests for one in own_layers.decode(model, [request], **options)]
    return own_layers.decode(model, requests, **options)


def _decode_static(
    model: torch.nn.Module,
    requests: Sequence[Request],
    look_every: int,
    must: bool,
    suppress: Sequence[int],
    **options: Any,
) -> list[Samples] | None:
    """None after a failure other than lack of memory, unless it `must`: then the model's own layers have to do."""
    device = model.device
    suppress = torch.tensor(list(suppress), dtype=torch.long, device=device)
    try:
        decoder = static_step.decoder_of(model)
        if not (must or decoder.checked):
            _check(model, decoder, requests[0], options["settings"], suppress)
        with torch.autocast(device.type, enabled=False):
            samples = decoder.decode(requests, suppress=suppress, every=look_every, **options)
    except Exception as error:
        static_step.forget(model)
        if must or is_out_of_memory(error):
            raise
        _failed.add(model)
        logger.warning(
            "%s decodes through its own layers from now on, more slowly: %s", type(model).__name__, first_line(error)
        )
        return None
    static_step.settle(model)
    return samples


def _check(
    model: torch.nn.Module,
    decoder: static_step.StaticDecoder,
    request: Request,
    settings: SamplingSettings,
    suppress: torch.Tensor,
) -> None:
    """RuntimeError where a new decoder and the model's own layers differ by more than rounding.

    Compared is the fourth token's distribution of eight completions, by its total variation: cards, kernels and
    releases are many, and a wrong one would go unnoticed.
    """
    with torch.autocast(model.device.type, enabled=False):
        tokens, found = decoder.trial(request, settings, suppress)
    prompt = request.prompt
    cache = SharedPrefixCache([prompt.layers], torch.zeros_like(tokens[:, 0]), tokens.shape[1])
    with shared_prefix_attention(model):
        for step, token in enumerate(tokens.unbind(1)):
            cache.begin_step()
            positions = torch.full_like(token, prompt.next_position + step)
            expected = own_layers.forward(model, token, positions, cache, prompt.axes)
    gap = (found.softmax(-1) - expected.float().softmax(-1)).abs().sum(-1).mean().item() / 2
    most = MOST_APART if model.dtype == torch.float32 else MOST_APART_IN_HALF
    if not gap <= most:  # nor is it a number
        raise RuntimeError(f"the fixed step's probabilities are {gap:.2g} from those of its layers, more than {most:g}")
    decoder.checked = True


def on(device: torch.device, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def base_model(model: torch.nn.Module) -> torch.nn.Module:
    """The transformers model inside a PEFT wrapper: adapters act inside its layers."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


_told: set[str] = set()
_failed: WeakSet[torch.nn.Module] = WeakSet()  # models whose fixed steps have failed


def decodes_static(model: torch.nn.Module) -> bool:
    """Whether `decode` takes steps of fixed shape: on a GPU, for models that `decoder_layer` knows. Says why not."""
    model = base_model(model)
    if model.device.type != "cuda" or model in _failed:
        return False
    reason = refusal(model)
    if reason is not None and reason not in _told:
        _told.add(reason)
        logger.warning("%s decodes through its own layers, more slowly: %s", type(model).__name__, reason)
    return reason is None


def can_share(model: torch.nn.Module) -> bool:
    shared = supports(model)
    name = type(model).__name__
    if not shared and name not in _told:
        _told.add(name)
        logger.warning("%s: shared-prefix attention is not available; decoding on copies of the prompt's cache", name)
    return shared


def is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text


def free_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _evaluating:
    """Evaluation mode (no dropout) inside, the former mode afterwards."""

    def __init__(self, model: torch.nn.Module):
        self.model = model

    def __enter__(self) -> None:
        self.before = self.model.training
        self.model.eval()

    def __exit__(self, *exc: object) -> None:
        self.model.train(self.before)
