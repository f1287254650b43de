"""How much memory a run takes on each device: parameters are counted, the rest follows from formulas.

The formulas name every tensor that PyTorch 2.15, transformers 5.24 and TRL 1.16 keep, found by listing them on small
Qwen2.5-VL models; tests/test_memory.py holds them against measured peaks. Not in them: fragmentation, the CUDA
context and kernels' workspaces (`needed` adds 5 % and 1 GB for those). 1 GB is 10^9 bytes.
"""

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from math import inf

from models.families import auto_class, family_of
from models.four_bit import WEIGHT_BYTES
from update.layer_memory import head, in_full, layer, tokens_of, vision_layer
from update.packing import Row, pack, pack_fewest, padded_cost
from update.rollout_memory import kept, rollout

GIGABYTE = 1e9
RESERVE, SLACK = 1.0 * GIGABYTE, 1.05
LIVE_GATHERED = 1e9  # DeepSpeed's stage3_max_live_parameters: gathered at one time in the update
BUCKETS = 2 * 5e8  # gradients that wait to be moved to the host: two of DeepSpeed's reduce_bucket_size


@dataclass(frozen=True)
class Shape:
    """What the configuration says of the layers."""

    layers: int
    hidden: int
    query: int  # heads x head dimension
    key_value: int
    inner: int
    vocabulary: int
    vision_layers: int
    vision_hidden: int
    vision_inner: int


@dataclass(frozen=True)
class Counts:
    """Parameters, counted on the meta device."""

    total: int
    vision: int = 0
    vision_layers: int = 0  # those of the tower's blocks
    layers: int = 0  # those of the language model's layers
    trained: int = 0
    adapted: int = 0  # frozen weights that an adapter sits on
    projections: int = 0  # weights of the language model's layers that 4 bits can hold
    shares_prompts: bool = True  # whether completions of a prompt can share its computation
    fixed_steps: bool = False  # whether a GPU decodes it in steps of fixed shape (sampling/static_step.py)
    fuses: bool = False  # the same of an update's layers, with Triton's kernels (update/fused_layers.py)


@dataclass(frozen=True)
class Work:
    """What one process does, as the flags say, with every completion as long as it may be."""

    patches: int  # of a prompt's image
    batch: int  # completions in a forward pass
    rank: int  # of the adapter; 0: all weights are trained
    checkpointing: bool
    weight_bytes: int
    compute_bytes: int  # 2 under autocast
    on_gpu: bool
    prompt: int = 0  # tokens of the longest prompt, image included
    patch_width: int = 0  # numbers in a patch
    completion: int = 0
    accumulation: int = 1
    updates: int = 1  # optimiser steps per rollout batch
    generations: int = 1
    packed: bool = True  # completions behind one copy of their prompt
    repacked: bool = True  # the rows of an update are divided anew into passes
    reference: bool = False  # a second model for the KL term
    engine: bool = True  # rollouts keep a prompt's keys and values once
    processes: int = 1
    zero: int = 0  # DeepSpeed's stage; 0: no DeepSpeed
    fsdp: bool = False
    moments: int = 2  # numbers the optimiser keeps a trained parameter: AdamW 2, plain gradient descent none
    least: bool = False  # the smallest passes there can be, as on a GPU whose memory is short
    card: float = inf  # bytes of the GPU's memory, where it is known
    fused: bool = False  # layers in fewer operations (update/fused_layers.py)
    base_4bit: bool = False  # frozen projections of the language model take half a byte a weight
    offload: bool = False  # DeepSpeed keeps optimiser, gradients and float32 weights on the host

    @property
    def rows(self) -> int:
        """Completions of one optimiser step on this process."""
        return self.batch * self.accumulation

    @property
    def plans(self) -> bool:
        """Whether the trainer fits its passes to the memory that is free (update/pass_room.py)."""
        return self.on_gpu and self.spares

    @property
    def spares(self) -> bool:
        """Whether passes do without checkpointing where TRL's own takes more; not under DeepSpeed and FSDP."""
        return self.packed and self.repacked and not (self.zero or self.fsdp)

    @property
    def image_bytes(self) -> int:
        return self.patches * self.patch_width * 4

    @property
    def prompts_in_rollout(self) -> int:
        return -(-self.rows * self.updates // self.generations)


@dataclass(frozen=True)
class Memory:
    """Bytes on one device. `update` and `rollout` take turns; the rest stays, `kept` of it from rollout to rollout."""

    weights: float
    gradients: float
    optimiser: float
    update: float
    rollout: float
    kept: float = 0.0

    @property
    def peak(self) -> float:
        return self.weights + self.gradients + self.optimiser + max(self.update + self.kept, self.rollout)

    @property
    def needed(self) -> float:
        """What a GPU must have: the peak, 5 % for gaps between tensors, 1 GB for CUDA itself."""
        return SLACK * self.peak + RESERVE


def shape_of(config) -> Shape:
    """ValueError for a configuration whose layers are called otherwise."""
    text, vision = config.get_text_config(), getattr(config, "vision_config", None)
    try:
        heads = text.num_attention_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // heads
        depth, tower, inner = family_of(config).tower_shape(vision) if vision else (0, 0, 0)
        key_value = (getattr(text, "num_key_value_heads", None) or heads) * width
        language = (text.num_hidden_layers, text.hidden_size, heads * width, key_value)
        return Shape(*language, text.intermediate_size, text.vocab_size, depth, tower, inner)
    except AttributeError as error:
        raise ValueError(f"--estimate: the layers of {config.model_type} are not known: {error}") from None


def count_parameters(config, adapter=None) -> Counts:
    """Builds the model, and the adapter on it, on the meta device: shapes without storage, nothing is downloaded."""
    import torch
    from peft import get_peft_model

    from sampling.known_layers import knows
    from update.layer_kernels import may_run
    from update.shared_prefix import enable

    with torch.device("meta"):
        model = auto_class(config).from_config(deepcopy(config))  # `enable` writes into it
        shares, fixed = enable(model), knows(model)
        sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
        trained, adapted = sum(sizes.values()), 0
        if adapter is not None:
            wrapped = get_peft_model(model, adapter)
            trained = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
            adapted = sum(p.numel() for name, p in wrapped.named_parameters() if name.endswith("base_layer.weight"))
    family = family_of(config)
    tower = {name for name in sizes if family.vision_modules and re.fullmatch(family.vision_modules, name)}
    numbered = {name for name in sizes if re.search(r"\.\d+\.", name)}  # inside a layer, not an embedding or a head
    blocks = {name for name in tower if re.fullmatch(family.tower_layers, name)}

    def count(names) -> int:
        return sum(sizes[name] for name in names)

    layers, products = count(numbered - tower), count((numbered & linear) - tower)
    known = shares, fixed, fixed and may_run()
    return Counts(sum(sizes.values()), count(tower), count(blocks), layers, trained, adapted, products, *known)


def memory(shape: Shape, counts: Counts, work: Work) -> Memory:
    """Peak memory of one process.

    Weights: `weight_bytes` each, projections less in 4 bits; twice with a reference model, divided by the processes
    under ZeRO-3. Gradients and AdamW: float32, 4 + 8 bytes a trained parameter (adapters are in float32). DeepSpeed:
    low-precision gradients and their float32 copy at the step (2 + 4), a float32 copy of the weights and AdamW's states
    (4 + 8), divided by the processes (gradients from stage 2 on); on the host, all but two buckets of gradients and the
    largest one. SGD has no states.
    """
    shards = work.processes
    stored: float = counts.total * work.weight_bytes
    if work.base_4bit:
        stored -= counts.projections * (work.weight_bytes - WEIGHT_BYTES)
    weights = stored / (shards if work.zero == 3 else 1) * (2 if work.reference else 1)
    if work.rank:  # adapters come on top, in float32
        weights += 4 * counts.trained / (shards if work.zero == 3 else 1)
        if work.fused and work.packed and not work.base_4bit:  # fused layers keep two copies
            weights += 2 * counts.trained * work.weight_bytes
    gradient, states = (2 + 4, 4 + 4 * work.moments) if work.zero else (4, 4 * work.moments)
    gradients = gradient * counts.trained / (shards if work.zero >= 2 else 1)
    if work.offload:
        largest = 0 if work.rank else shape.vocabulary * shape.hidden
        gradients, states = 2 * (min(counts.trained, BUCKETS) + largest), 0
    return Memory(
        weights,
        gradients,
        states * counts.trained / (shards if work.zero else 1),
        update(shape, counts, work),
        rollout(shape, counts, work),
        kept(shape, counts, work),
    )


def passes(work: Work) -> list[list[Row]]:
    """The forward passes of one optimiser step when every row has weight, by the trainer's own packing."""
    rows = [Row(i, i // work.generations, work.prompt, work.completion) for i in range(work.rows)]
    if not (work.packed and work.repacked):
        return [rows[start : start + work.batch] for start in range(0, len(rows), work.batch)]
    budget = padded_cost(rows) // len(rows) * work.batch
    if not work.plans:
        return pack(rows, work.accumulation, budget)
    return pack_fewest(rows, work.accumulation, budget, lambda part: not work.least)


def update(shape: Shape, counts: Counts, work: Work) -> float:
    """The largest forward and backward pass, beyond what stays.

    The float32 pixels of the rollout batch wait beside it: of every prompt, or of every row that is not repacked.
    """
    parts = passes(work)
    work = replace(work, checkpointing=checkpoints(shape, counts, work, parts))
    waiting = work.prompts_in_rollout if work.packed and work.repacked else work.rows * work.updates
    return max(pass_bytes(shape, counts, work, part) for part in parts) + waiting * work.image_bytes


def checkpoints(shape: Shape, counts: Counts, work: Work, parts: Sequence[Sequence[Row]], room: float = inf) -> bool:
    """Whether these passes need gradient checkpointing, where it is on at all.

    They do without where that takes no more than `room`, nor than a micro-batch of `work.batch` rows takes in TRL, each
    with its own prompt and with checkpointing.
    """
    if not (work.checkpointing and work.spares) or work.least:
        return work.checkpointing
    longest = [max(getattr(row, name) for part in parts for row in part) for name in ("prompt_tokens", "tokens")]
    plain = [Row(i, i, *longest) for i in range(work.batch)]
    room = min(room, pass_bytes(shape, counts, replace(work, packed=False), plain))
    without = replace(work, checkpointing=False)
    return any(pass_bytes(shape, counts, without, part) > room for part in parts)


def pass_bytes(shape: Shape, counts: Counts, work: Work, rows: Sequence[Row]) -> float:
    """A forward and backward pass over these rows.

    Without gradient checkpointing every layer keeps its tensors (`layer`, `vision_layer`); with it, its input, and one
    layer at a time is computed again. In the backward pass the widest moment of a layer adds the gradients of its MLP.
    Once the last layer is done the head works tile by tile. All weights trained under autocast from float32: a
    low-precision copy of each lives until the forward pass ends. ZeRO-3: at most 10^9 parameters are gathered at once.
    """
    tokens = tokens_of(rows, work)
    images = len({row.prompt for row in rows}) if work.packed else len(rows)
    patches, one = images * work.patches, layer(shape, work, rows)
    of_tower = vision_layer(shape, work) * patches
    spared = work.packed and work.rank  # a frozen tower keeps nothing; in TRL, PEFT asks for gradients at its input
    gradients = tokens * (3 * shape.inner + 2 * shape.hidden) * work.compute_bytes + 2 * tokens * shape.hidden * 4
    if work.checkpointing:
        of_vision = 0 if spared else shape.vision_layers * patches * shape.vision_hidden
        saved: float = (shape.layers * tokens * shape.hidden + of_vision) * work.weight_bytes
        again = max(one + gradients, of_tower)
    else:
        saved = shape.layers * one + (0 if spared else shape.vision_layers * of_tower)
        again = gradients
    copies = 2 * counts.total if not work.rank and work.compute_bytes < work.weight_bytes else 0
    gathered = min(counts.total, LIVE_GATHERED) * work.weight_bytes if work.zero == 3 else 0
    scored = sum(row.tokens for row in rows)
    return saved + max(again, head(shape, work, tokens, scored)) + copies + gathered + in_full(shape, work)
