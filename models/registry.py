"""Names -> models: the short names of the command line, the embedded models, any hub id, any local folder.

Weights come from safetensors files only (models/weights.py) and no code from a model's repository is ever run.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import user_path
from common.terminal import first_line
from models import four_bit
from models.families import auto_class, family_of, tokenizer_of

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, ProcessorMixin

TINY_FOLDER = Path(__file__).parent / "tiny"
ORGANISM_FOLDER = Path(__file__).parent / "organism"


class NoWeights(ValueError):
    """A model whose weights cannot be loaded: not on the hub, not as safetensors, out of reach."""


@dataclass(frozen=True)
class ModelEntry:
    """A model by its name on the command line. None means the project's default."""

    name: str
    source: str  # hub id or folder
    learning_rate: float | None = None
    max_completion_length: int | None = None  # tokens
    license: str = "apache-2.0"  # as the hub names it


MODELS = {
    entry.name: entry
    for entry in (
        ModelEntry("tiny", str(TINY_FOLDER), learning_rate=3e-4, max_completion_length=192),
        ModelEntry("organism", str(ORGANISM_FOLDER), learning_rate=3e-4, max_completion_length=128),
        ModelEntry("qwen2-5-3b", "Qwen/Qwen2.5-VL-3B-Instruct", license="qwen-research"),
        ModelEntry("qwen2-5-7b", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ModelEntry("qwen2-2b", "Qwen/Qwen2-VL-2B-Instruct"),
        ModelEntry("qwen2-7b", "Qwen/Qwen2-VL-7B-Instruct"),
        ModelEntry("qwen3-vl-2b", "Qwen/Qwen3-VL-2B-Instruct"),
        ModelEntry("qwen3-vl-4b", "Qwen/Qwen3-VL-4B-Instruct"),
        ModelEntry("qwen3-vl-8b", "Qwen/Qwen3-VL-8B-Instruct"),
        # text alone
        ModelEntry("qwen2-5-math-1-5b", "Qwen/Qwen2.5-Math-1.5B"),
        ModelEntry("qwen2-5-math-7b", "Qwen/Qwen2.5-Math-7B"),
        ModelEntry("qwen3-0-6b", "Qwen/Qwen3-0.6B"),
        ModelEntry("qwen3-4b", "Qwen/Qwen3-4B"),
        ModelEntry("qwen3-8b", "Qwen/Qwen3-8B"),
        ModelEntry("llama3-1-8b", "meta-llama/Llama-3.1-8B-Instruct", license="llama3.1"),
        # "-hf": transformers' own format; the repositories without it need code of their own
        ModelEntry("internvl3-1b", "OpenGVLab/InternVL3-1B-hf", license="qwen"),
        ModelEntry("internvl3-2b", "OpenGVLab/InternVL3-2B-hf", license="qwen"),
        ModelEntry("internvl3-8b", "OpenGVLab/InternVL3-8B-hf", license="qwen"),
    )
}

# of base models, which have none of their own: the texts, a line each, and nothing that marks who speaks
PLAIN_TEMPLATE = "{{ bos_token or '' }}{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
TURN_ENDS = ("<|im_end|>", "<|eot_id|>")  # of the templates of Qwen and of Llama 3
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def resolve_model(name: str) -> ModelEntry:
    """The entry for a short name, a local folder or a hub id ("organisation/name")."""
    if name in MODELS:
        return MODELS[name]
    folder = user_path(name)
    if name and folder.is_dir():
        if not (folder / "config.json").is_file():
            hint = " (it holds a LoRA adapter)" if (folder / "adapter_config.json").is_file() else ""
            raise ValueError(f"model folder {name!r} holds no config.json{hint}: name a folder with a full model")
        return ModelEntry(folder.resolve().name, str(folder.resolve()))
    parts = name.split("/")
    if len(parts) == 2 and all(parts) and not name.startswith((".", "~", "/")):
        return ModelEntry(name, name)
    close = get_close_matches(name, MODELS, n=2, cutoff=0.5)
    guess = f" (did you mean {' or '.join(close)}?)" if close else ""
    raise ValueError(
        f"unknown model {name!r}{guess}: choose {', '.join(MODELS)}, a hub id such as Qwen/Qwen2.5-VL-3B-Instruct, "
        "or a folder that holds a model"
    )


def load_config(name: str) -> PreTrainedConfig:
    """The model's configuration; ValueError when there is none of a known family, without code of the model's own."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(resolve_model(name).source, trust_remote_code=False)
    except Exception as error:  # a damaged configuration fails in the libraries in many ways
        raise ValueError(f"model {name}: no configuration to be had: {first_line(error)}") from None
    parts = [config, *(value for value in vars(config).values() if hasattr(value, "_attn_implementation"))]
    kernels = [part._attn_implementation for part in parts if "/" in str(part._attn_implementation)]
    if kernels:  # transformers would download this repository and run it
        raise ValueError(f"model {name}: its configuration asks for code of {kernels[0]!r}, which is never run")
    _check_family(name, config)
    four_bit.check_not_quantised(name, config)
    return config


def _check_family(name: str, source: PreTrainedConfig | ProcessorMixin) -> None:
    try:
        auto_class(source) if hasattr(source, "model_type") else family_of(source)
    except ValueError as error:
        raise ValueError(f"model {name}: {error}") from None


def load_model(
    name: str,
    *,
    dtype: torch.dtype | str | None = None,
    base_4bit: bool = False,
    device: str | None = None,
    **from_pretrained: Any,
) -> PreTrainedModel:
    """The model with its language head. Without a dtype: float32 where no GPU is visible, else the stored one.

    `base_4bit`: its projections in 4 bits (models/four_bit.py), all of it on `device`. NoWeights when the hub does not
    give them, or not as safetensors.
    """
    import torch

    if dtype is None:
        dtype = "auto" if torch.cuda.is_available() else torch.float32
    source = resolve_model(name).source
    settings = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": False, **from_pretrained}
    settings |= four_bit.loading(load_config(name), dtype, device) if base_4bit else {}
    try:
        model = auto_class(load_config(name)).from_pretrained(source, **settings)
    except OSError as error:
        raise NoWeights(f"model {name}: no safetensors weights to be had: {first_line(error)}") from None
    return four_bit.same_arithmetic(model) if base_4bit else model


def load_processor(name: str, *, min_pixels: int | None = None, max_pixels: int | None = None) -> ProcessorMixin:
    """The processor, padding on the left: generation continues a prompt at its right end. ValueError without one.

    Of a model that reads text alone, its tokenizer.
    """
    from transformers import AutoProcessor, AutoTokenizer

    source, sees = resolve_model(name).source, family_of(load_config(name)).sees
    kind = AutoProcessor if sees else AutoTokenizer
    try:
        processor = kind.from_pretrained(source, padding_side="left", trust_remote_code=False)
    except Exception as error:  # a damaged file of a tokenizer or processor fails in the libraries in many ways
        raise ValueError(f"model {name}: no processor to be had: {first_line(error)}") from None
    if sees and not hasattr(processor, "image_processor"):
        raise ValueError(f"model {name}: it reads no images ({type(processor).__name__} is no processor of images)")
    _check_family(name, processor)
    family_of(processor).limit_pixels(processor, min_pixels, max_pixels)
    tokenizer = tokenizer_of(processor)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not sees and tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return processor


def control_tokens(processor: ProcessorMixin) -> tuple[str, ...]:
    """The strings that the processor reads as tokens of their own, whatever stands around them.

    All special and added tokens of its tokenizer and its markers of images and the like. Not among them: added tokens
    that are words, letters and digits alone, which a fine-tuned model may have for the words of its trade.
    """
    tokenizer = tokenizer_of(processor)
    markers = {getattr(processor, f"{kind}_token", None) or "" for kind in ("image", "video", "audio")}
    added = {token for token in tokenizer.get_added_vocab() if not token.replace(" ", "").isalnum()}
    found = {token.lstrip() for token in {*tokenizer.all_special_tokens, *markers, *added}}
    return tuple(sorted(token for token in found if len(token) > 1))


def end_tokens(settings: GenerationConfig, processor: ProcessorMixin) -> list[int]:
    """Every token that ends a completion: the model's generation settings' and the tokenizer's.

    Base models that read text alone have a template of turns whose end neither of the two names, and would write on
    behind it: there it is the template's too.
    """
    tokenizer = tokenizer_of(processor)
    configured = settings.eos_token_id
    configured = configured if isinstance(configured, list | tuple) else [configured]
    turns = [] if tokenizer is not processor else [t for t in TURN_ENDS if t in (tokenizer.chat_template or "")]
    known = tokenizer.get_vocab()
    ends = (*configured, tokenizer.eos_token_id, *(known.get(token) for token in turns))
    return sorted({token for token in ends if token is not None})


def lora_config(
    config: PreTrainedConfig,
    *,
    r: int = 8,
    alpha: int = 16,
    targets: list[str] | tuple[str, ...] | None = None,
) -> LoraConfig:
    """LoRA on the language model only: by default on all seven projections of every layer, never on vision."""
    from peft import LoraConfig, TaskType

    if r < 1:
        raise ValueError(f"the LoRA rank must be at least 1, not {r}")
    if alpha <= 0:
        raise ValueError(f"LoRA alpha must be above 0, not {alpha}")
    targets = LORA_TARGETS if targets is None else tuple(targets)
    unknown = [target for target in targets if target not in LORA_TARGETS]
    if not targets or unknown:
        raise ValueError(f"unknown LoRA targets {unknown}: choose from {', '.join(LORA_TARGETS)}")
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=r,
        lora_alpha=alpha,
        target_modules=list(targets),
        exclude_modules=family_of(config).vision_modules,  # towers have modules of the same names
        bias="none",
    )


def unsampleable_token_ids(*sources: PreTrainedConfig | ProcessorMixin) -> list[int]:
    """Ids of the image, video and vision markers: sampled, they would promise image features that do not exist.

    `sources` are a model's configuration, its processor, or both: a tokenizer may have markers that no setting names.
    """
    found = set()
    for source in sources:
        family = family_of(source)
        found |= {getattr(source, name, None) for name in family.marker_ids}
        vocabulary = source.tokenizer.get_vocab() if hasattr(source, "tokenizer") else {}  # text alone has no markers
        found |= {vocabulary.get(marker) for marker in family.markers}
    return sorted(int(token) for token in found if token is not None)
