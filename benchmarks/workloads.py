"""The models and prompts that the benchmarks work on."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from charts.record import ChartQuestion
from models.families import family_of, tokenizer_of
from models.inputs import prompt_inputs
from models.registry import load_model, load_processor, resolve_model

HAZARD = 1 / 24


def full_size_config():
    """Qwen2.5-VL-3B-Instruct's configuration (its public config.json), for a model without a checkpoint."""
    from transformers import Qwen2_5_VLConfig

    rope = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]}
    text = {"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
            "num_attention_heads": 16, "num_key_value_heads": 2, "rope_parameters": rope,
            "tie_word_embeddings": True}  # fmt: skip
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048,
              "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112}  # fmt: skip
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True)


def make_model(args: argparse.Namespace, dtype: torch.dtype):
    if not args.random_weights:
        return load_model(args.model, dtype=dtype)
    from transformers import AutoModelForImageTextToText

    config, known = full_size_config(), load_processor("tiny").tokenizer
    for name in ("image", "video", "vision_start", "vision_end"):
        marker = {"image": "image_pad", "video": "video_pad"}.get(name, name)
        setattr(config, f"{name}_token_id", known.convert_tokens_to_ids(f"<|{marker}|>"))
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return AutoModelForImageTextToText.from_config(config, dtype=dtype)


def add_text_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", action="store_true", help="the text decoder of --model alone, and no images")


@contextmanager
def model_to_measure(args: argparse.Namespace) -> Iterator[None]:
    """With `--text`, `args.model` names a Qwen2 that has the weights of the text decoder of `--model`, a Qwen2.5-VL.

    Of a text whose positions count up, the three positions of a VL model's rope are equal: it is the rope of Qwen2.
    """
    if not args.text:
        yield
        return
    from transformers import Qwen2Config, Qwen2ForCausalLM

    whole = load_model(args.model, dtype=torch.float32)
    own = whole.config.get_text_config().to_dict()
    del own["model_type"], own["rope_parameters"]["mrope_section"]
    model = Qwen2ForCausalLM(Qwen2Config(**{**own, "architectures": ["Qwen2ForCausalLM"]}))
    model.model.load_state_dict(whole.model.language_model.state_dict())
    model.lm_head.load_state_dict(whole.lm_head.state_dict())
    with TemporaryDirectory() as folder:
        args.model = f"{folder}/decoder of {resolve_model(args.model).name}"
        model.save_pretrained(args.model)
        tokenizer_of(load_processor(whole.name_or_path)).save_pretrained(args.model)
        yield


def add_update_flags(parser: argparse.ArgumentParser) -> None:
    """The model, and the sizes of its prompts and completions."""
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--random-weights", action="store_true", help="qwen2-5-3b's shape with random weights")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--longest", type=int, default=64, help="tokens of the longest completion")
    parser.add_argument("--mean-length", type=float, default=24, help="mean tokens of a sampled completion")
    parser.add_argument("--image-tokens", type=int, default=64)


def build_inputs(processor, args: argparse.Namespace, device: str, number: int = 0) -> dict[str, torch.Tensor]:
    """A prompt of exactly `--prompt-tokens` tokens, plus its number; `--image-tokens` of them an image, if it sees."""
    family, image = family_of(processor), None
    if family.sees:
        noise = torch.Generator().manual_seed(number)
        side = round(args.image_tokens**0.5) * family.image_step(processor)
        image = Image.fromarray(torch.randint(0, 255, (side, side, 3), generator=noise, dtype=torch.uint8).numpy())
    words = 0
    while True:
        asked = "What is the value of red?" + " 1" * words
        question = ChartQuestion("q", asked, ("1",), open_image=(lambda: image) if image else None)
        inputs = prompt_inputs(processor, question, image, prompt="short")
        missing = args.prompt_tokens + number - inputs["input_ids"].shape[1]
        if missing <= 0:
            return {name: tensor.to(device) for name, tensor in inputs.items()}
        words += max(1, missing // 2)


def hold_lengths(model: torch.nn.Module, eos: int, hazard: float = HAZARD) -> None:
    """From now on every step ends with chance `hazard`; the rest is flattened, so that top-p never cuts the end."""

    def hook(module: torch.nn.Module, inputs: object, logits: torch.Tensor) -> torch.Tensor:
        logits = logits * 0.3
        logits[..., eos] = -torch.inf
        logits[..., eos] = logits.logsumexp(-1) + np.log(hazard / (1 - hazard))
        return logits

    model.get_output_embeddings().register_forward_hook(hook)
