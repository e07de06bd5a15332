"""An OpenAI-compatible upstream in this process, on a real loopback socket.

It keeps every body that it received: what a test finds in ``seen`` is what the model saw. The
answer follows the last user message: ``CALL name {json}`` calls a tool with these arguments,
``SLOW n`` streams n pieces with a pause before each, anything else comes back as it was sent.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Upstream:
    """``with Upstream() as upstream: upstream.url``. ``chunk``: characters of a streamed piece."""

    def __init__(self, *, chunk: int = 3, pause_s: float = 0.05) -> None:
        self.chunk = chunk
        self.pause_s = pause_s
        self.seen: list[str] = []
        self.cut_short = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                """Say nothing: the prompts of tests are not for the terminal."""

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.seen.append(body)
                outer._answer(self, json.loads(body))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        content = last_user_message(body)
        message: dict[str, Any] = {"role": "assistant", "content": content}
        finish = "stop"
        if content.startswith("CALL "):
            _, name, arguments = content.split(" ", 2)
            call = {"name": name, "arguments": arguments}
            message["content"] = None
            message["tool_calls"] = [{"id": "up_1", "type": "function", "function": call}]
            finish = "tool_calls"
        if body.get("stream"):
            self._stream(handler, message, finish)
            return
        usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        payload = json.dumps(
            {"id": "up", "object": "chat.completion", "choices": [choice], "usage": usage}
        ).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload)

    def _stream(
        self, handler: BaseHTTPRequestHandler, message: dict[str, Any], finish: str
    ) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        text = message["content"] or ""
        pause = 0.0
        if text.startswith("SLOW "):
            text, pause = "word " * int(text.split()[1]), self.pause_s
        deltas: list[dict[str, Any]] = [{"role": "assistant"}]
        deltas += [{"content": text[i : i + self.chunk]} for i in range(0, len(text), self.chunk)]
        if message.get("tool_calls"):
            call = message["tool_calls"][0]
            arguments = call["function"]["arguments"]
            head = {**call, "index": 0, "function": {**call["function"], "arguments": ""}}
            deltas.append({"tool_calls": [head]})
            deltas += [
                {"tool_calls": [{"index": 0, "function": {"arguments": arguments[i : i + 4]}}]}
                for i in range(0, len(arguments), 4)
            ]
        try:
            for delta in deltas:
                time.sleep(pause)
                self._event(handler, {"choices": [{"index": 0, "delta": delta}]})
            self._event(handler, {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
            usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
            self._event(handler, {"choices": [], "usage": usage})
            handler.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.cut_short.set()

    @staticmethod
    def _event(handler: BaseHTTPRequestHandler, event: dict[str, Any]) -> None:
        handler.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        handler.wfile.flush()


def last_user_message(body: dict[str, Any]) -> str:
    users = [m["content"] for m in body["messages"] if m["role"] == "user"]
    return str(users[-1]) if users else ""
