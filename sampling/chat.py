"""A conversation -> completions of a served model, by the OpenAI-compatible chat route.

Each request says all that the sampling distribution depends on, as a server's own defaults may come from the model's
files (Qwen2.5-VL's ask for nearly greedy decoding). No seed is sent: servers give others their place in a batch and
do not repeat themselves. What a server does not know, and what was not asked for, is left out after its refusal.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from common.network import Refused, ServerError
from models.families import tokenizer_of
from sampling.server import Server
from sampling.settings import SamplingSettings

if TYPE_CHECKING:
    from PIL import Image
    from transformers import ProcessorMixin

NEVER = -100  # logit bias of a token that is not to be drawn: the lowest that the API has


@dataclass
class Asked:
    """A conversation as it is sent, and where the model is known here the prompt's ids and all of its inputs."""

    messages: list[dict[str, Any]]
    prompt_ids: list[int] | None = None
    inputs: dict[str, Any] | None = None


@dataclass
class Answers:
    """Completions of one prompt, with what the server says of them; None of what it does not say."""

    texts: list[str] = field(default_factory=list)
    token_ids: list[list[int] | None] = field(default_factory=list)
    logprobs: list[list[float] | None] = field(default_factory=list)
    lengths: list[int | None] = field(default_factory=list)  # tokens
    truncated: list[bool] = field(default_factory=list)

    @property
    def logprob_sums(self) -> list[float | None]:
        return [None if row is None else float(sum(row)) for row in self.logprobs]


def messages_with_image(turns: Sequence[dict[str, Any]], image: Image.Image | None) -> list[dict[str, Any]]:
    """`charts.prompt.messages` in the API's form, the image as PNG inside it."""
    url = None if image is None else f"data:image/png;base64,{base64.b64encode(_png(image)).decode()}"

    def part(one: dict[str, Any]) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": url}} if one["type"] == "image" else one

    def content(said: str | list) -> str | list:  # a text model's is one string
        return said if isinstance(said, str) else [part(one) for one in said]

    return [{"role": turn["role"], "content": content(turn["content"])} for turn in turns]


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", compress_level=1)  # small charts, and often a server on the same machine
    return stream.getvalue()


class Chat:
    """Draws completions of one served model.

    `processor`, `eos_ids` and `suppress` are those of the model where it is known here; without them a server's words
    are taken as they are. At most `chunk` completions are asked for in one request.
    """

    def __init__(
        self,
        server: Server,
        model: str,
        settings: SamplingSettings,
        *,
        processor: ProcessorMixin | None = None,
        eos_ids: Sequence[int] = (),
        suppress: Sequence[int] = (),
        chunk: int | None = None,
    ):
        self.server, self.model, self.settings, self.processor = server, model, settings, processor
        self.eos_ids, self.suppress, self.chunk = list(eos_ids), list(suppress), chunk
        self.ids_compared = True  # until the server gives none
        self._fields: dict[str, Any] = {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_new_tokens,
            "top_k": settings.top_k or -1,
            "repetition_penalty": 1.0,
            "logprobs": True,
        }
        if processor is not None:
            self._fields |= {"return_token_ids": True, "stop_token_ids": self.eos_ids}
        if suppress:
            self._fields["logit_bias"] = {str(token): NEVER for token in suppress}

    def draw(self, asked: Asked, n: int, *, model: str | None = None, **fields: Any) -> Answers:
        """`n` completions; fewer come with an answer than were asked for, and the rest is asked for again.

        `fields` of the request in place of those of the settings. ServerError for a prompt that is not the one meant.
        """
        out = Answers()
        while len(out.texts) < n:
            most = min(self.chunk or n, n - len(out.texts))
            reply = self._post({"model": model or self.model, "messages": asked.messages, "n": most}, fields)
            choices = reply.get("choices") if isinstance(reply, dict) else None
            if not choices:
                raise ServerError(f"{self.server.url}: an answer without a completion: {json.dumps(reply)[:200]}")
            with self.server.reading():
                self._compare(asked, reply)
                for choice in choices[:most]:
                    self._take(out, choice, reply if len(choices) == 1 else {})
        return out

    def _post(self, request: dict[str, Any], fields: dict[str, Any]) -> Any:
        while True:
            try:
                own = {name: fields.get(name, value) for name, value in self._fields.items()}
                return self.server.post("chat/completions", request | own)
            except Refused as error:
                if not self._do_without(str(error)):
                    raise

    def _do_without(self, refusal: str) -> bool:
        """Whether the request can be put otherwise, after a refusal that names fields of it."""
        named = {name for name in self._fields if name in refusal}
        if "max_completion_tokens" in refusal and "max_tokens" in self._fields:
            self._fields["max_completion_tokens"] = self._fields.pop("max_tokens")
            return True
        free = {"logprobs", "return_token_ids", "stop_token_ids", "repetition_penalty"}
        if not self.settings.top_k:
            free |= {"top_k", "generation_config"}
        elif self.processor is not None:
            free.add("top_k")
        for name in named & free:
            del self._fields[name]
        if "top_k" in named & free and self.processor is not None:  # transformers serve is told of them in there
            config = {"do_sample": True, "top_k": self.settings.top_k, "repetition_penalty": 1.0}
            self._fields["generation_config"] = json.dumps(config | {"eos_token_id": self.eos_ids})
        return bool(named & free)

    def _compare(self, asked: Asked, reply: dict[str, Any]) -> None:
        """ServerError unless the prompt is the one that this model's own processor makes, as far as the server says."""
        expected, found = asked.prompt_ids, reply.get("prompt_token_ids")
        if expected is None:
            return
        if found is None:
            self.ids_compared = False
            counted = (reply.get("usage") or {}).get("prompt_tokens")
            if counted in (None, 0, len(expected)):
                return
            what = f"of {counted} tokens where it has {len(expected)} here"
        elif found == expected:
            return
        else:
            pairs = enumerate(zip(found, expected, strict=False))
            place = next((at for at, (one, other) in pairs if one != other), min(len(found), len(expected)))
            what = f"of {len(found)} tokens where it has {len(expected)} here; they differ from token {place} on"
        raise ServerError(
            f"{self.server.url} reads another prompt, {what}: it must serve the same model with the same chat template "
            "and image limits"
        )

    def _take(self, out: Answers, choice: dict[str, Any], reply: dict[str, Any]) -> None:
        """Adds a choice; `reply` where it is the only one, and all tokens are its own."""
        ids = choice.get("token_ids")
        content = (choice.get("logprobs") or {}).get("content")
        logprobs = None if not content else [float(token["logprob"]) for token in content]
        counts = (ids, logprobs)
        length = next((len(one) for one in counts if one), (reply.get("usage") or {}).get("completion_tokens"))
        text = (choice.get("message") or {}).get("content") or ""
        if ids is not None and self.processor is not None:
            text = tokenizer_of(self.processor).decode(ids, skip_special_tokens=True)
        out.texts.append(text)
        out.token_ids.append(ids)
        out.logprobs.append(logprobs)
        out.lengths.append(length)
        out.truncated.append(choice.get("finish_reason") == "length")
