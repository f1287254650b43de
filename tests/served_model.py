"""The model behind tests/server.py: its routes, adapters that are loaded at run time, and faults on demand."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import threading
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file

from models.families import tokenizer_of
from models.registry import load_model, load_processor
from sampling.engine import sample
from sampling.settings import SamplingSettings

PLAIN_FIELDS = {"model", "messages", "n", "temperature", "top_p", "max_tokens", "logit_bias", "logprobs", "seed",
                "generation_config"}  # fmt: skip


class Rejected(Exception):
    """(status, message)"""


class ServedModel:
    """A model and its adapters. `faults` (names, with a value where one is needed):

    `ignores_adapters`; `first_adapter` (answers with the first one whatever is asked for); `no_ids`; `plain` (refuses
    what OpenAI's schema does not have, gives one completion an answer, no ids and no log-probabilities); `statuses`
    (to answer with before anything else); `odd` (answers in another form); `max_pixels` (its own image limit); `key`
    (asks for one); `delay` (seconds); `dies_after` (chat requests, then 400 to all).
    """

    def __init__(self, model: str = "tiny", name: str = "base", **faults):
        self.name, self.source, self.faults = name, model, faults
        self.processor = load_processor(model, max_pixels=faults.get("max_pixels"))
        self.model = load_model(model, dtype=torch.float32).eval()
        self.adapters: dict[str, str] = {}  # name -> path, as they are loaded
        self.known: dict[tuple[str, str], str] = {}  # (name, path) -> adapter of the model, also of those unloaded
        self.asked: list[dict] = []  # bodies of the requests for completions
        self.log: list[str] = []  # "POST /v1/load_lora_adapter name", ...
        self.in_flight = self.most_in_flight = 0
        self._lock, self._count, self._requests = threading.Lock(), threading.Lock(), 0
        self._numbers = itertools.count()
        self.features: dict[str, dict] = {}  # hash -> model inputs of an image
        self.url = ""

    # -- routes -------------------------------------------------------------------------------------------------------

    def get(self, path: str):
        if path == "/v1/models":
            base = {"id": self.name, "root": self.source, "parent": None, "object": "model"}
            loras = [{"id": name, "root": path, "parent": self.name} for name, path in self.adapters.items()]
            return {"object": "list", "data": [base, *loras]}
        if path == "/version" and "plain" not in self.faults:
            return {"version": "0.0.test"}
        if path.startswith("/server_info") and "plain" not in self.faults:
            return {"vllm_config": {"model_config": {"dtype": "torch.float32"}, "kv_cache_dtype": "bfloat16"}}
        raise Rejected(404, "Not Found")

    def post(self, path: str, body: dict):
        routes = {
            "/v1/chat/completions": self.chat,
            "/v1/load_lora_adapter": self.load,
            "/v1/unload_lora_adapter": self.unload,
            "/v1/chat/completions/render": self.render,
            "/inference/v1/generate": self.generate,
        }
        if path not in routes:
            raise Rejected(404, "Not Found")
        if "odd" in self.faults and path.endswith(("/completions", "/generate")):
            return {"choices": [{"logprobs": {"content": [{}]}}] * body.get("n", 4)}
        return routes[path](body)

    def load(self, body: dict):
        name, path = body["lora_name"], body["lora_path"]
        self.log.append(f"load {name}")
        if name in self.adapters:
            raise Rejected(400, f"The lora adapter '{name}' has already been loaded.")
        if not Path(path, "adapter_config.json").is_file():
            raise Rejected(404, f"No adapter found for {name} in {path}")
        with self._lock:
            if (name, path) not in self.known:
                inner = f"a{next(self._numbers)}"
                config = LoraConfig.from_pretrained(path)
                config.inference_mode = True
                if isinstance(self.model, PeftModel):
                    self.model.add_adapter(inner, config)
                else:
                    self.model = PeftModel(self.model, config, inner).eval()
                set_peft_model_state_dict(self.model, load_file(Path(path, "adapter_model.safetensors")), inner)
                self.known[name, path] = inner
            self.adapters[name] = path
        return f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, body: dict):
        self.log.append(f"unload {body['lora_name']}")
        if self.adapters.pop(body["lora_name"], None) is None:
            raise Rejected(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
        return "Success"

    def chat(self, body: dict):
        self.asked.append(body)
        if len(self.asked) > self.faults.get("dies_after", 1e9):
            raise Rejected(400, "EngineCore encountered an issue")
        if "plain" in self.faults and set(body) - PLAIN_FIELDS:
            raise Rejected(422, f"Unexpected fields in the request: {set(body) - PLAIN_FIELDS}")
        inputs = self.inputs_of(body["messages"])
        rich = not {"plain", "no_ids"} & self.faults.keys()
        config = json.loads(body.get("generation_config", "{}"))
        body = {"top_k": config.get("top_k", 50 if "plain" in self.faults else 0), **body}
        body["n"] = 1 if "plain" in self.faults else body["n"]
        ends = [*(body.get("stop_token_ids") or config.get("eos_token_id") or [])]
        ids, logprobs, cut = self.complete(body, inputs, ends)
        choices = []
        for index, (own, logps, truncated) in enumerate(zip(ids, logprobs, cut, strict=True)):
            text = tokenizer_of(self.processor).decode(own, skip_special_tokens=True)
            choice = {"index": index, "message": {"role": "assistant", "content": text}}
            choice["finish_reason"] = "length" if truncated else "stop"
            if "plain" not in self.faults and body.get("logprobs"):
                choice["logprobs"] = {"content": [{"token": "", "logprob": value} for value in logps]}
            if rich and body.get("return_token_ids"):
                choice["token_ids"] = own
            choices.append(choice)
        prompt = inputs["input_ids"][0].tolist()
        usage = {"prompt_tokens": len(prompt), "completion_tokens": sum(map(len, ids))}
        more = {"prompt_token_ids": prompt} if rich and body.get("return_token_ids") else {}
        return {"id": "x", "choices": choices, "usage": usage, **more}

    def render(self, body: dict):
        inputs = self.inputs_of(body["messages"])
        ids = inputs.pop("input_ids")[0].tolist()
        features = {name: tensor for name, tensor in inputs.items() if name in ("pixel_values", "image_grid_thw")}
        key = hashlib.sha256(features["pixel_values"].numpy().tobytes()).hexdigest()
        self.features[key] = features
        marker = self.processor.image_token_id
        place = {"offset": ids.index(marker), "length": ids.count(marker)}
        return {"token_ids": ids, "features": {"mm_hashes": {"image": [key]}, "mm_placeholders": {"image": [place]},
                                               "kwargs_data": {"image": [key]}}}  # fmt: skip

    def generate(self, body: dict):
        params, ids, features = body["sampling_params"], body["token_ids"], body.get("features")
        self.asked.append(body)
        inputs = {"input_ids": torch.tensor([ids])}
        if features:
            inputs |= self.features[features["kwargs_data"]["image"][0]]
            (place,) = features["mm_placeholders"]["image"]
            marker = self.processor.image_token_id
            seen = [at for at, token in enumerate(ids) if token == marker]
            assert seen == list(range(place["offset"], place["offset"] + place["length"])), "where the image stands"
            inputs["mm_token_type_ids"] = (inputs["input_ids"] == marker).long()
        assert params["output_kind"] == 2, "else completions are lost"
        found = self.complete({**params, "model": body["model"]}, inputs, params.get("stop_token_ids") or [])
        choices = [
            {"index": index, "token_ids": own, "finish_reason": "length" if cut else "stop",
             "logprobs": {"content": [{"token": "", "logprob": value} for value in logps]}}
            for index, (own, logps, cut) in enumerate(zip(*found, strict=True))
        ]  # fmt: skip
        return {"request_id": "x", "choices": choices}

    # -- the model ----------------------------------------------------------------------------------------------------

    def inputs_of(self, messages: list[dict]) -> dict:
        """Model inputs of a conversation, its image read from the data URL; no resize rule but the processor's own."""
        turns, images = [], []
        if isinstance(messages[-1]["content"], str):  # to a model that reads text alone
            text = self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            return dict(self.processor(text, add_special_tokens=False, return_tensors="pt"))
        for message in messages:
            parts = []
            for part in message["content"]:
                if part["type"] == "image_url":
                    kind, _, data = part["image_url"]["url"].partition(";base64,")
                    assert kind == "data:image/png"
                    images.append(Image.open(io.BytesIO(base64.b64decode(data))))
                    part = {"type": "image"}
                parts.append(part)
            turns.append({"role": message["role"], "content": parts})
        text = self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return dict(self.processor(text=[text], images=images or None, return_tensors="pt"))

    def complete(self, params: dict, inputs: dict, ends: list[int]):
        """(token ids, log-probabilities, truncated) of each of `n` completions."""
        model, name = params["model"], None
        if model != self.name:
            if model not in self.adapters:
                raise Rejected(404, f"The model `{model}` does not exist.")
            name = self.known[model, self.adapters[model]]
            if "first_adapter" in self.faults:
                name = next(iter(self.known.values()))
        own_ends = self.model.generation_config.eos_token_id
        ends = sorted({*ends, *(own_ends if isinstance(own_ends, list) else [own_ends])})
        suppress = [int(token) for token, bias in (params.get("logit_bias") or {}).items() if bias <= -100]
        with self._lock, torch.no_grad(), self.acting(name) as net:
            self._requests += 1
            if params["temperature"] == 0:
                return greedy(net, inputs, params["max_tokens"], ends, suppress)
            settings = SamplingSettings(
                params["temperature"], params["top_p"], max(params.get("top_k", 0), 0), params["max_tokens"], seed=1
            )
            drawn = sample(
                net, inputs, problem_id=f"request {self._requests}", n=params["n"], settings=settings, eos_ids=ends,
                suppress=suppress,
            )  # fmt: skip
            return drawn.token_ids, drawn.logprobs, drawn.truncated

    @contextmanager
    def counting(self):
        with self._count:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        yield
        with self._count:
            self.in_flight -= 1

    @contextmanager
    def acting(self, adapter: str | None):
        if isinstance(self.model, PeftModel):
            if adapter and "ignores_adapters" not in self.faults:
                self.model.set_adapter(adapter)
                yield self.model
                return
            with self.model.disable_adapter():
                yield self.model.get_base_model()
            return
        yield self.model


def greedy(net, inputs: dict, length: int, ends: list[int], suppress: list[int]):
    """Log-probabilities as vLLM's at temperature 0: of the model itself."""
    made = net.generate(
        **inputs, do_sample=False, max_new_tokens=length, eos_token_id=ends, pad_token_id=ends[0],
        suppress_tokens=suppress or None, output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    ids = made.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    scores = torch.stack(made.scores)[:, 0].log_softmax(-1)
    return [ids], [[scores[at, token].item() for at, token in enumerate(ids)]], [ids[-1] not in ends]
