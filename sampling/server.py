"""An OpenAI-compatible inference server over HTTP: requests, repeated while it is away or busy, and its adapters.

Only the address that the user names is spoken to. A key comes from the environment variable SERVER_API_KEY; it is sent
in a header and stands in no file, log or message. Redirections are not followed: they would carry it elsewhere.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from time import sleep
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from checkpoints.finding import check_adapter_config
from common.network import Refused, ServerError
from common.terminal import printable
from models.registry import LORA_TARGETS
from models.weights import adapter_file, shapes

KEY = "SERVER_API_KEY"
START_SECONDS, ANSWER_SECONDS = 30.0, 1800.0  # an answer of many long completions comes as a whole
TRIES = 9
FIRST_WAIT, LONGEST_WAIT, LONGEST_ASKED = 1.0, 60.0, 600.0  # seconds; the last: what a server may ask for
SAID_FROM = 4.0  # shorter waits are not worth a line
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 529})  # busy, restarting, limited: may pass
_DTYPE = re.compile(r"(?<!\w)[\"']?dtype[\"']?\s*[:=]\s*[\"']?(?:torch\.)?(float32|bfloat16|float16)\b")


def check_url(url: str) -> str:
    """The address of the API, without a slash at its end; `/v1` where only a host is given. ValueError for others."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"--server-url {url}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"--server-url {url}: give the address of a server, such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        raise ValueError(f"--server-url {url}: no password in an address; put a key into the environment as {KEY}")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


class _NoRedirection(HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Server:
    """One server. Usable from several threads at a time. ServerError where it fails, after TRIES with back-off."""

    def __init__(self, url: str):
        self.url = check_url(url)
        self._root = self.url.removesuffix("/v1")
        self._key = os.environ.get(KEY, "").strip()
        if not re.fullmatch("[!-~]*", self._key):
            raise ValueError(f"the environment variable {KEY} holds characters that no key has")
        self._opener = build_opener(_NoRedirection)

    def get(self, path: str) -> Any:
        """The JSON that is answered, or text; one try, as it is asked at the start alone."""
        return self._request(path, None, PASSING, tries=1, seconds=START_SECONDS)

    def post(self, path: str, body: dict[str, Any], passing: frozenset[int] = PASSING) -> Any:
        """The JSON that is answered, or text. A path with a slash in front is below the host, others below the API."""
        return self._request(path, json.dumps(body).encode(), passing, TRIES, ANSWER_SECONDS)

    def _request(self, path: str, body: bytes | None, passing: frozenset[int], tries: int, seconds: float) -> Any:
        address = (self._root if path.startswith("/") else f"{self.url}/") + path
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        wait = FIRST_WAIT
        for left in reversed(range(tries)):
            asked = 0.0
            try:
                with self._opener.open(Request(address, body, headers), timeout=seconds) as reply:
                    return _content(reply.read())
            except HTTPError as error:
                kind = Refused if 400 <= error.code < 500 else ServerError
                problem: ServerError = kind(f"{address}: {error.code} {self._clean(_message(error))}")
                if error.code not in passing:
                    raise problem from None
                asked = _seconds(error.headers.get("retry-after"))
            except (OSError, HTTPException) as error:  # refused, timed out, cut off
                reason = getattr(error, "reason", None) or error
                problem = ServerError(f"{address}: no answer: {self._clean(str(reason) or repr(reason))}")
            if not left:
                raise problem
            pause = max(wait * random.uniform(0.5, 1.0), min(asked, LONGEST_ASKED))
            if pause >= SAID_FROM:
                print(printable(f"{problem}; trying again in {pause:.0f} s"), file=sys.stderr, flush=True)
            sleep(pause)
            wait = min(2 * wait, LONGEST_WAIT)
        raise AssertionError("the last try returns or raises")

    def _clean(self, text: str) -> str:
        """One line. A server may repeat a key that it does not know."""
        line = " ".join(text.split())[:400]
        return line.replace(self._key, "***") if self._key else line

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Inside, an answer in another form than it should have is a ServerError."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ServerError(f"{self.url}: an answer in a form that is not known here: {error!r}") from None

    # -- what it serves -----------------------------------------------------------------------------------------------

    def models(self) -> list[dict[str, Any]]:
        """What it says of the models and adapters that it serves. ServerError at once when it is not there."""
        try:
            listed = self.get("models")
        except Refused:
            return []  # not every gateway has the route
        models = listed.get("data") if isinstance(listed, dict) else None
        return [model for model in models or [] if isinstance(model, dict) and isinstance(model.get("id"), str)]

    def base_model(self, wanted: str | None) -> str:
        """The name of the model that it serves: the one `wanted`, or the only one. ValueError for none or several."""
        names = [model["id"] for model in self.models() if not model.get("parent")]
        if wanted is not None:
            return wanted
        if len(names) != 1:
            what = f"serves {', '.join(names[:8])}" if names else "does not say what it serves"
            raise ValueError(f"--server-url {self.url} {what}: name the model with --server-model")
        return names[0]

    def about(self) -> dict[str, str]:
        """Its version and dtype, each "unknown" where it does not say (vLLM tells its dtype in development mode)."""
        said = {}
        for path in ("/version", "/server_info?config_format=json", "/get_server_info"):
            try:
                said[path] = self.get(path)
            except ServerError:
                continue
        versions = [one["version"] for one in said.values() if isinstance(one, dict) and one.get("version")]
        dtype = _DTYPE.search(json.dumps(list(said.values())).replace('\\"', '"'))
        return {"version": str(versions[0]) if versions else "unknown", "dtype": dtype[1] if dtype else "unknown"}

    def load_adapter(self, name: str, folder: Path) -> None:
        """Has it load the adapter from a folder that it can see, unless it has one of this name already."""
        if any(model["id"] == name for model in self.models()):
            return
        try:
            self.post("load_lora_adapter", {"lora_name": name, "lora_path": str(folder.resolve())}, PASSING - {500})
        except ServerError as error:
            if "already been loaded" in str(error):  # by another process, just now
                return
            raise ServerError(
                f"the server does not load the adapter {folder}: {error}. It must see that folder, and vLLM be started "
                "with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, --enable-lora and a --max-lora-rank that is large enough"
            ) from None

    def unload_adapter(self, name: str) -> None:
        self.post("unload_lora_adapter", {"lora_name": name}, PASSING - {500})


def check_servable(adapter: Path, vision: str | None) -> None:
    """ValueError for an adapter of which servers leave a part out without a word.

    They apply plain LoRA on the projections of the language model; `vision` is the pattern of the other modules' names,
    None where there are none.
    """
    config = check_adapter_config(adapter / "adapter_config.json")
    odd = [name for name in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern") if config.get(name)]
    if config.get("bias", "none") != "none":
        odd.append("bias")
    for tensor in shapes(adapter_file(adapter)):
        module, _, part = tensor.removeprefix("base_model.model.").partition(".lora_")
        if (
            part not in ("A.weight", "B.weight")
            or module.rpartition(".")[2] not in LORA_TARGETS
            or (vision and re.fullmatch(vision, module))
        ):
            odd.append(tensor)
    if odd:
        raise ValueError(
            f"the adapter in {adapter} has {odd[0]}, which servers ignore: merge it (python -m checkpoints.merge "
            f"{adapter} FOLDER), serve that folder and name it as the checkpoint"
        )


def _seconds(header: str | None) -> float:
    try:
        return max(0.0, float(header or 0))
    except ValueError:  # a date
        return 0.0


def _content(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


def _message(answer: HTTPError) -> str:
    """What an error says, in whichever of the usual places."""
    try:
        found = _content(answer.read())
    except (OSError, HTTPException):
        found = ""
    error = found.get("error", found) if isinstance(found, dict) else found
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return (error if isinstance(error, str) else json.dumps(error)) or str(answer.reason)
