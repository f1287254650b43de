"""The shapes of the models that have a name: facts of their configurations, so that `--estimate` needs no hub.

`stand_in` makes of them a folder without weights, whose tokenizer is that of `tiny`: parameters, layers and image
tokens are the model's own, tokens of text are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.registry import TINY_FOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase, ProcessorMixin

CHARACTERS = 4  # of a token of text, where the model's own tokenizer is not at hand
_PUBLIC_VOCABULARY = 151_936


@dataclass(frozen=True)
class Text:
    """The language model."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    tie_word_embeddings: bool  # whether the head is the embedding
    head_dim: int = 128
    vocab_size: int = _PUBLIC_VOCABULARY


@dataclass(frozen=True)
class Tower:
    """The vision tower, as its family's configuration names its sizes."""

    model_type: str
    sizes: dict


_QWEN2 = {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16}
_QWEN2_5 = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
_QWEN3 = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]}
_QWEN3_LARGE = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24]}
_INTERNVIT = {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096, "attention_bias": True}
_LARGE = (3584, 18944, 28, 28, 4, False, 128)  # of Qwen2 and Qwen2.5, 7 billion

TEXT_ONLY: dict[str, tuple[str, Text]] = {  # model_type, shape
    "qwen2-5-math-1-5b": ("qwen2", Text(1536, 8960, 28, 12, 2, True)),
    "qwen2-5-math-7b": ("qwen2", Text(*_LARGE, vocab_size=152_064)),
    "qwen3-0-6b": ("qwen3", Text(1024, 3072, 28, 16, 8, True)),
    "qwen3-4b": ("qwen3", Text(2560, 9728, 36, 32, 8, True)),
    "qwen3-8b": ("qwen3", Text(4096, 12288, 36, 32, 8, False)),
    "llama3-1-8b": ("llama", Text(4096, 14336, 32, 32, 8, False, vocab_size=128_256)),
}
SHAPES: dict[str, tuple[Text, Tower]] = {
    "qwen2-5-3b": (Text(2048, 11008, 36, 16, 2, True), Tower("qwen2_5_vl", _QWEN2_5 | {"out_hidden_size": 2048})),
    "qwen2-5-7b": (Text(*_LARGE, vocab_size=152_064), Tower("qwen2_5_vl", _QWEN2_5 | {"out_hidden_size": 3584})),
    "qwen2-2b": (Text(1536, 8960, 28, 12, 2, True), Tower("qwen2_vl", _QWEN2 | {"hidden_size": 1536})),
    "qwen2-7b": (Text(*_LARGE, vocab_size=152_064), Tower("qwen2_vl", _QWEN2 | {"hidden_size": 3584})),
    "qwen3-vl-2b": (Text(2048, 6144, 28, 16, 8, True), Tower("qwen3_vl", _QWEN3 | {"out_hidden_size": 2048})),
    "qwen3-vl-4b": (Text(2560, 9728, 36, 32, 8, True), Tower("qwen3_vl", _QWEN3 | {"out_hidden_size": 2560})),
    "qwen3-vl-8b": (Text(4096, 12288, 36, 32, 8, False), Tower("qwen3_vl", _QWEN3_LARGE | {"out_hidden_size": 4096})),
    "internvl3-1b": (Text(896, 4864, 24, 14, 2, False, 64, 151_674), Tower("internvl", _INTERNVIT)),
    "internvl3-2b": (Text(1536, 8960, 28, 12, 2, False, 128, 151_674), Tower("internvl", _INTERNVIT)),
    "internvl3-8b": (Text(*_LARGE, vocab_size=151_674), Tower("internvl", _INTERNVIT)),
}


def configuration(name: str) -> PreTrainedConfig:
    """The configuration of a named model, as far as its shape goes. KeyError for other names."""
    from transformers import AutoConfig

    if name in TEXT_ONLY:
        model_type, alone = TEXT_ONLY[name]
        return AutoConfig.for_model(model_type, **vars(alone))
    text, tower = SHAPES[name]
    language = dict(vars(text))
    if tower.model_type == "internvl":
        language |= {"model_type": "qwen2"}
    if tower.model_type != "qwen3_vl":  # it alone has a head dimension of its own
        del language["head_dim"]
    return AutoConfig.for_model(
        tower.model_type,
        text_config=language,
        vision_config=dict(tower.sizes),
        tie_word_embeddings=text.tie_word_embeddings,
    )


def stand_in(name: str, folder: Path) -> None:
    """Writes configuration and processor of a named model to `folder`, without weights."""
    config = configuration(name)
    config.save_pretrained(folder)
    _processor(config.model_type).save_pretrained(folder)


def _processor(model_type: str) -> ProcessorMixin | PreTrainedTokenizerBase:
    """The family's own processor, around the tokenizer of `tiny`; that alone for models without images."""
    import transformers as hf

    template = (TINY_FOLDER / "chat_template.jinja").read_text(encoding="utf-8")
    if model_type in {kind for kind, _ in TEXT_ONLY.values()}:
        return hf.AutoTokenizer.from_pretrained(TINY_FOLDER, padding_side="left")
    if model_type == "internvl":
        words = {"start_image": "<img>", "end_image": "</img>", "context_image": "<IMG_CONTEXT>", "video": "<video>"}
        named = {f"{key}_token": word for key, word in words.items()}
        return hf.InternVLProcessor(
            image_processor=hf.GotOcr2ImageProcessor(size={"height": 448, "width": 448}),
            tokenizer=hf.AutoTokenizer.from_pretrained(TINY_FOLDER, padding_side="left", extra_special_tokens=named),
            video_processor=hf.InternVLVideoProcessor(size={"height": 448, "width": 448}),
            image_seq_length=256,
            chat_template=template.replace("<|vision_start|><|image_pad|><|vision_end|>", "<IMG_CONTEXT>\n"),
        )
    classes = {
        "qwen2_vl": (hf.Qwen2VLProcessor, hf.Qwen2VLVideoProcessor),
        "qwen2_5_vl": (hf.Qwen2_5_VLProcessor, hf.Qwen2VLVideoProcessor),
        "qwen3_vl": (hf.Qwen3VLProcessor, hf.Qwen3VLVideoProcessor),
    }
    processor, video = classes[model_type]
    sizes = {"patch_size": 16 if model_type == "qwen3_vl" else 14, "merge_size": 2, "temporal_patch_size": 2}
    return processor(
        image_processor=hf.Qwen2VLImageProcessor(**sizes),
        tokenizer=hf.AutoTokenizer.from_pretrained(TINY_FOLDER, padding_side="left"),
        video_processor=video(**sizes),
        chat_template=template,
    )
