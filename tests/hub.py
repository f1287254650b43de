"""A stand-in for the hub: takes what huggingface_hub sends to publish a model, and keeps it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """`files`: path -> content of what has been committed; `created`: the repositories as they were asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.created: list[dict] = []
        self.tokens: set[str | None] = set()
        self.large: dict[str, bytes] = {}  # by their hash
        self.refuses = False


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args) -> None:
        """Nothing is printed."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, content: dict, code: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_PUT(self) -> None:
        self.server.large[self.path.rpartition("/")[2]] = self._body()
        self._answer({})

    def do_GET(self) -> None:
        self._answer({"id": "me/model", "sha": "0" * 40, "siblings": []})

    def do_POST(self) -> None:
        body, hub = self._body(), self.server
        hub.tokens.add(self.headers.get("Authorization"))
        if hub.refuses:
            return self._answer({"error": "You have no right to do this"}, 403)
        if self.path == "/api/repos/create":
            hub.created.append(json.loads(body))
            return self._answer({"url": f"{hub.url}/me/model"})
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if self.path.endswith("/preupload/main"):
            wanted = json.loads(body)["files"]
            kinds = [(one["path"], "lfs" if one["path"].endswith(".safetensors") else "regular") for one in wanted]
            return self._answer({"files": [{"path": p, "uploadMode": k, "shouldIgnore": False} for p, k in kinds]})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"{hub.url}/large/{one['oid']}"}}
            return self._answer({"transfer": "basic", "objects": objects})
        if self.path.endswith("/commit/main"):
            for line in map(json.loads, body.decode().splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    hub.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.files[value["path"]] = hub.large[value["oid"]]
            return self._answer({"commitUrl": f"{hub.url}/me/model/commit/1", "commitOid": "1" * 40})
        return self._answer({"error": f"no route {self.path}"}, 404)


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
