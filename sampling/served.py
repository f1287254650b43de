"""A served model that is to be sampled: found, its adapter loaded, and checked on two problems before any is sampled.

A model that is known here (--checkpoint-path) must read the same prompt ids, and its log-probabilities must be those of
the weights here: servers that leave an adapter out, or serve other weights, say nothing. Of any other model nothing is
known but its answers.
"""

from __future__ import annotations

import threading
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from charts.images import fit_image
from charts.prompt import messages, of_record
from charts.record import ChartQuestion
from checkpoints.finding import Checkpoint, load
from checkpoints.fingerprints import adapter_fingerprint
from models.families import family_of
from models.inputs import blind, conversation, image_rule, prompt_inputs
from models.registry import end_tokens, load_config, load_processor, unsampleable_token_ids
from models.weights import adapter_file
from sampling.chat import Answers, Asked, Chat, messages_with_image
from sampling.server import Server, check_servable
from sampling.settings import SamplingSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, ProcessorMixin

CHECKED = 2  # problems
GREEDY = {"temperature": 0.0, "top_p": 1.0, "top_k": -1, "max_tokens": 32, "max_completion_tokens": 32}
DRAWN = {**GREEDY, "temperature": 1.0}  # unlikely tokens tell models apart better
COMPARED = 4  # completions of each problem
MOST_APART, MOST_APART_IN_HALF = 1e-4, 0.1  # mean difference of log-probabilities a token: float32; any other dtype
NOT_REPEATED = "not reproducible from the seed: the server draws with random numbers of its own"


@dataclass(frozen=True)
class Served:
    """Where the model is served, and what the samples file says of that."""

    server: Server
    base: str  # the name under which the base model is served
    name: str  # of the model that is sampled: the adapter's, or the base model's
    record: dict[str, str]


def find_served(args: Namespace, checkpoint: Checkpoint) -> Served:
    """The model on the server of --server-url, which loads the checkpoint's adapter. ValueError or ServerError."""
    server = Server(args.server_url)
    if checkpoint.adapter is not None:
        check_servable(checkpoint.adapter, family_of(load_config(checkpoint.source)).vision_modules)
    base = name = server.base_model(args.server_model)
    about = server.about()
    if checkpoint.adapter is not None:
        name = adapter_fingerprint(checkpoint.adapter)
        server.load_adapter(name, checkpoint.adapter)
    return Served(server, base, name, {"url": server.url, "model": name, **about, "samples": NOT_REPEATED})


@dataclass
class ServerSampler:
    """Draws `n` completions of every question from a server; the counterpart of `sampling.job.Sampler`."""

    chat: Chat
    n: int
    prompt: str
    min_pixels: int | None
    max_pixels: int | None
    without_image: str | None = None
    # Held by a thread but while it waits for answers: tokenizers and files of images are not for several at a time.
    in_hand: threading.Lock = field(default_factory=threading.Lock)

    def inputs(self, question: ChartQuestion, image: Any) -> Asked:
        question, image = blind(question, image, self.without_image)
        processor, limits = self.chat.processor, (self.min_pixels, self.max_pixels)
        if processor is None:
            fitted = None if image is None else fit_image(image, *limits)
            return Asked(messages_with_image(messages(question, self.prompt), fitted))
        found = prompt_inputs(
            processor, question, image, prompt=self.prompt, min_pixels=limits[0], max_pixels=limits[1]
        )
        fitted = None if image is None else image_rule(processor, *limits)(image)
        turns = conversation(processor, question, self.prompt)
        return Asked(messages_with_image(turns, fitted), found["input_ids"][0].tolist(), found)

    def __call__(self, prompts: Sequence[tuple[str, Asked]], first: int = 0) -> list[Answers]:
        """One `Answers` for every (problem id, conversation): as many completions as `first` to n - 1 are.

        `in_hand` is held, and let go meanwhile.
        """
        self.in_hand.release()
        try:
            return [self.chat.draw(asked, self.n - first) for _, asked in prompts]
        finally:
            self.in_hand.acquire()

    def texts(self, answers: Answers) -> list[str]:
        return answers.texts


def server_sampler(args: Namespace, checkpoint: Checkpoint, settings: dict[str, Any], served: Served) -> ServerSampler:
    """The sampler of a job with these settings (`sampling.preparation.describe`)."""
    numbers = {name: settings["sampling"][name] for name in ("temperature", "top_p", "top_k", "max_new_tokens")}
    known: dict[str, Any] = {}
    if args.checkpoint_path is not None:
        processor = load_processor(checkpoint.source, **settings["image"])
        suppress = unsampleable_token_ids(processor, load_config(checkpoint.source))
        known = {"processor": processor, "suppress": suppress, "eos_ids": _end_tokens(checkpoint.source, processor)}
    chat = Chat(served.server, served.name, SamplingSettings(**numbers), chunk=args.chunk, **known)
    return ServerSampler(
        chat, args.num_samples, of_record(settings["prompt"]), without_image=args.without_image, **settings["image"]
    )


def _end_tokens(source: str, processor: ProcessorMixin) -> list[int]:
    """`models.registry.end_tokens` of a model that is not loaded."""
    from transformers import GenerationConfig

    try:
        configured = GenerationConfig.from_pretrained(source)
    except OSError:
        configured = GenerationConfig.from_model_config(load_config(source))
    return end_tokens(configured, processor)


# -- the check ---------------------------------------------------------------------------------------------------------


def check_served(
    sampler: ServerSampler, served: Served, questions: Sequence[ChartQuestion], checkpoint: Checkpoint
) -> list[Asked]:
    """Asks the first problems, greedily where the model is known here; what was asked.

    ValueError for an adapter that changes nothing, ServerError for other prompts than the model's own.
    """
    greedy: dict[str, Any] = GREEDY if sampler.chat.processor is not None else {}
    found, changed = [], False
    for question in questions:
        try:
            image = question.open_image() if question.open_image is not None else None
        except ValueError:
            continue
        asked = sampler.inputs(question, image)
        answers = sampler.chat.draw(asked, 1, **greedy)
        found.append(asked)
        if checkpoint.adapter is not None:
            without = sampler.chat.draw(asked, 1, model=served.base, **greedy)
            changed |= answers.texts != without.texts or answers.logprobs != without.logprobs or not answers.logprobs[0]
        if len(found) == CHECKED:
            break
    if checkpoint.adapter is not None and not changed and _acts(checkpoint):
        raise ValueError(
            f"--server-url {served.server.url}: the server answers with the adapter {served.name} just as without it, "
            "so it leaves the adapter out"
        )
    return found


def _acts(checkpoint: Checkpoint) -> bool:
    """Whether the adapter changes the model at all: none of its products is zero."""
    from safetensors.torch import load_file

    assert checkpoint.adapter is not None
    tensors = load_file(adapter_file(checkpoint.adapter))
    return any(bool(tensor.any()) for name, tensor in tensors.items() if "lora_B" in name)


def compare_with_weights(
    checkpoint: Checkpoint, device: str, dtypes: tuple[str, str], chat: Chat, asked: Sequence[Asked]
) -> str:
    """Loads the model here and says how far its log-probabilities of new answers are from the server's.

    `dtypes`: to load it in, and the server's. ValueError when they are those of another model.
    """
    import torch

    drawn: dict[str, Any] = DRAWN
    answers = [(one, chat.draw(one, COMPARED, **drawn)) for one in asked]
    pairs = [(one, *pair) for one, given in answers for pair in zip(given.token_ids, given.logprobs, strict=True)]
    if not all(ids and logprobs and len(ids) == len(logprobs) for _, ids, logprobs in pairs):
        return "the server gives no token ids with log-probabilities: not compared with the weights here"
    model = load(checkpoint, dtype=dtypes[0], device=device, merge_adapter=False)
    with torch.no_grad():
        gap = _mean_gap(model, chat, pairs)
        without = None
        if checkpoint.adapter is not None:
            with model.disable_adapter():
                without = _mean_gap(model, chat, pairs)
    where = f"--server-url {chat.server.url}: the server's log-probabilities of {len(pairs)} answers"
    if without is not None and 2 * without < gap:  # rounding may hide what an adapter has learned in a few updates
        raise ValueError(f"{where} are nearer to those of the base model than to those with the adapter: it ignores it")
    most = MOST_APART if set(dtypes) == {"float32"} else MOST_APART_IN_HALF
    if not gap <= most:
        in_4_bits = ", or its base is not in 4 bits, as the one here is" if checkpoint.base_4bit else ""
        raise ValueError(
            f"{where} are {gap:.2g} a token from those of {checkpoint.path} here, more than {most:g}: it serves other "
            f"weights or another dtype{in_4_bits}. Start it with those of {checkpoint.source}, or take its word "
            "with --server-check ids"
        )
    return (
        f"the server's log-probabilities of {len(pairs)} answers are {gap:.1g} a token from those of the weights here"
    )


def _mean_gap(model: PreTrainedModel, chat: Chat, pairs: Sequence[tuple[Asked, Any, Any]]) -> float:
    import torch

    gaps = [
        (logps_of(model, asked.inputs or {}, ids, chat.suppress) - torch.tensor(logprobs)).abs()
        for asked, ids, logprobs in pairs
    ]
    return torch.cat(gaps).mean().item()


def logps_of(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], ids: Sequence[int], suppress: Sequence[int]
) -> torch.Tensor:
    """Log-probabilities (T,) of a completion's tokens behind a prompt (a batch of one), on the CPU."""
    import torch

    own = torch.tensor([list(ids)])
    family, more = family_of(model.config), dict(inputs)
    more["input_ids"] = torch.cat([inputs["input_ids"], own], 1)
    more["attention_mask"] = torch.ones_like(more["input_ids"])
    for name in family.token_fields:
        if name in inputs:
            more[name] = torch.cat([inputs[name], torch.zeros_like(own)], 1)
    more = {name: tensor.to(model.device) for name, tensor in more.items()}
    more = {name: t.to(model.dtype) if t.is_floating_point() else t for name, t in more.items()}
    logits = model(**more).logits[0, -len(ids) - 1 : -1].float().cpu()
    logits[:, list(suppress)] = -torch.inf
    return logits.log_softmax(-1).gather(1, own.T)[:, 0]
