"""The parts of the embedded `tiny` model: tokenizer, processor and configuration, all of the real Qwen2.5-VL classes.

Special tokens are those of Qwen2.5-VL that a chart conversation uses. The tags of the answer format are ordinary
tokens, for they must survive `skip_special_tokens=True`. The constant lines of the structured prompt are one token
each, so that so small a model spends its compute on the chart and the question. Digits stand alone, and a word is the
same token wherever it stands: spaces and punctuation never stick to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from charts.prompt import PROMPTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLProcessor

VOCABULARY = 1024  # tokens, but for tags and lines of the prompt
IMAGE_SIZE = 112  # pixels: 8 x 8 patches, 16 image tokens
INITIAL_SPREAD = 0.06  # near 1 / sqrt(128); the usual 0.02 was tried with AdamW alone, and was slower
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"
SPECIAL_TOKENS = (PAD, START, END, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD)
TAGS = tuple(tag for name in ("think", "type", "table", "answer") for tag in (f"<{name}>", f"</{name}>"))
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def prompt_lines() -> list[str]:
    """The constant part of the structured prompt, line by line, line ends included."""
    return PROMPTS["structured"].split("{question}")[0].splitlines(keepends=True)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on `texts`: any string can be written with it."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}|[^\p{L}\p{N}]+"), behavior="isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.pre_tokenizer = pre_tokenizers.Sequence([words, as_bytes])
    core.decoder = decoders.ByteLevel()
    special, alphabet = list(SPECIAL_TOKENS), pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    core.add_tokens([AddedToken(text, normalized=False, special=False) for text in (*TAGS, *prompt_lines())])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLProcessor:
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=14, merge_size=2, temporal_patch_size=2),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(patch_size=14, merge_size=2, temporal_patch_size=2),
        chat_template=CHAT_TEMPLATE,
    )


def make_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    """A Qwen2.5-VL of fewer than two million parameters."""
    from transformers import Qwen2_5_VLConfig

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
        "initializer_range": INITIAL_SPREAD, "rope_parameters": rope, "bos_token_id": None, "eos_token_id": ids[END],
        "pad_token_id": ids[PAD], "tie_word_embeddings": True,
    }  # fmt: skip
    vision = {
        "depth": 3, "hidden_size": 128, "intermediate_size": 256, "num_heads": 4, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": IMAGE_SIZE, "out_hidden_size": 128,
        "fullatt_block_indexes": [0, 1, 2], "initializer_range": INITIAL_SPREAD,
    }  # fmt: skip
    return Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True, initializer_range=INITIAL_SPREAD,
        image_token_id=ids[IMAGE_PAD], video_token_id=ids[VIDEO_PAD], vision_start_token_id=ids[VISION_START],
        vision_end_token_id=ids[VISION_END],
    )  # fmt: skip
