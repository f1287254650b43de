"""An inference server for the tests: the routes of vLLM that this project uses, answered with its own engine.

    with serving() as server:
        generate_samples.main([..., "--backend", "server", "--server-url", server.url])

It has vLLM's ways that matter here: adapters are loaded by name and path at run time, and one that is loaded again
under a name and path that were there before answers with its old weights; random numbers are its own and never those of
a seed. `ServedModel.faults` makes it wrong or rude in one of the ways that servers are.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.served_model import Rejected, ServedModel


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer(lambda server: server.get(self.path))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(lambda server: server.post(self.path, body))

    def answer(self, route):
        served: ServedModel = self.server.served
        served.log.append(f"{self.command} {self.path}")
        headers = {}
        counted = self.path.endswith(("/completions", "/generate"))
        with served.counting() if counted else nullcontext():
            try:
                if counted and served.faults.get("statuses"):
                    status, headers = served.faults["statuses"].pop(0)
                    raise Rejected(status, "not now")
                key = served.faults.get("key")
                if key and self.headers.get("Authorization") != f"Bearer {key}":
                    raise Rejected(401, f"Incorrect API key provided: {self.headers.get('Authorization')}")
                content, status = route(served), 200
            except Rejected as error:
                status, message = error.args
                content = {"error": {"message": message, "code": status}}
            time.sleep(served.faults.get("delay", 0))
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class RealServer:
    """In place of a `ServedModel`, one that was started by tests/with_vllm.sh: it has no faults on demand."""

    def __init__(self, url: str):
        self.url, self.faults = url, {}
        self.log, self.asked, self.adapters, self.known = [], [], {}, {}
        self.most_in_flight = 0


@contextmanager
def serving(model: str = "tiny", **faults):
    """A `ServedModel` that answers at its `url` while the context lasts."""
    if "TEST_SERVER_URL" in os.environ:
        yield RealServer(os.environ["TEST_SERVER_URL"])
        return
    served = ServedModel(model, **faults)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads, http.served = True, served
    served.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        http.shutdown()
        http.server_close()
