"""A real HTTP server on loopback that speaks chat completions, and every way of speaking them badly.

    with ChatServer() as server:
        server.add(server.status(500), server.says('{"kind": "rules"}'))
        ... a client at server.base_url ...
        assert len(server.requests) == 2

Answers are used in order; `server.always(answer)` is given when none is left. An answer is a function of the handler.
"""

import gzip
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Received:
    """One request as it came over the wire."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Handler(BaseHTTPRequestHandler):
    """Reads the request, keeps it, gives the next answer."""

    protocol_version = "HTTP/1.1"
    chat: "ChatServer"

    def do_POST(self) -> None:
        """Answer a chat-completions request."""
        length = int(self.headers.get("content-length", "0"))
        body = json.loads(self.rfile.read(length) or b"{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.chat.next_answer(Received(self.path, headers, body))(self)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """A whole response; `content_type` becomes the header content-type."""
        self.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("content-type", "application/json")
        named.setdefault("content-length", str(len(body)))
        for name, value in named.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""


Answer = Callable[[Handler], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what half of these tests are about."""


class ChatServer:
    """The server; see the module's docstring."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self._answers: deque[Answer] = deque()
        self._always: Answer = self.status(500, "the test gave no answer")
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        handler = type("BoundHandler", (Handler,), {"chat": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base_url(self) -> str:
        """Where the client has to go."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def add(self, *answers: Answer) -> None:
        """Answers for the next requests, in order."""
        self._answers.extend(answers)

    def always(self, answer: Answer) -> None:
        """The answer when no other is left."""
        self._always = answer

    def next_answer(self, received: Received) -> Answer:
        """Keep the request and choose its answer."""
        with self._lock:
            self.requests.append(received)
            return self._answers.popleft() if self._answers else self._always

    @staticmethod
    def body(
        text: str | None,
        *,
        finish_reason: str | None = "stop",
        refusal: str | None = None,
        usage: dict[str, Any] | None = None,
        **extra: Any,
    ) -> bytes:
        """A chat completion as bytes."""
        counts = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120} if usage is None else usage
        message = {"role": "assistant", "content": text, "refusal": refusal}
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "tiny-1",
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}],
            "usage": counts or None,
        }
        return json.dumps({**answer, **extra}).encode()

    def says(self, text: str | None, **more: Any) -> Answer:
        """A good answer; see `body` for what else it takes."""
        data = self.body(text, **more)
        return lambda handler: handler.send(200, data)

    def status(self, code: int, message: str = "no", *, error_code: str | None = None, **headers: str) -> Answer:
        """An error as the vendor writes it."""
        data = json.dumps({"error": {"message": message, "type": "error", "param": None, "code": error_code}}).encode()
        return lambda handler: handler.send(code, data, **headers)

    def raw(self, data: bytes, status: int = 200, **headers: str) -> Answer:
        """Any bytes."""
        return lambda handler: handler.send(status, data, **headers)

    def redirect(self, url: str) -> Answer:
        """307, which would repeat the POST with its body elsewhere."""
        return lambda handler: handler.send(307, b"", location=url)

    def gzip_bomb(self, megabytes: int = 20) -> Answer:
        """A small body that unpacks to many megabytes."""
        data = gzip.compress(b" " * (megabytes * 1_000_000))
        return lambda handler: handler.send(200, data, content_encoding="gzip")

    def huge(self, megabytes: int = 5, *, announced: bool = True) -> Answer:
        """A body over the cap, with or without its length in the header."""

        def answer(handler: Handler) -> None:
            data = self.body("x" * (megabytes * 1_000_000))
            if announced:
                handler.send(200, data)
                return
            handler.send_response(200)
            handler.send_header("transfer-encoding", "chunked")
            handler.end_headers()
            for start in range(0, len(data), 65_536):
                chunk = data[start : start + 65_536]
                handler.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            handler.wfile.write(b"0\r\n\r\n")

        return answer

    def hang(self, seconds: float = 30.0) -> Answer:
        """Not a byte, until the server is closed."""

        def answer(handler: Handler) -> None:
            self._stopping.wait(seconds)
            handler.close_connection = True

        return answer

    def drip(self, pause: float = 0.05) -> Answer:
        """A good answer, byte by byte: each read succeeds, the whole never ends in time."""

        def answer(handler: Handler) -> None:
            data = self.body("x" * 2_000)
            handler.send_response(200)
            handler.send_header("content-length", str(len(data)))
            handler.end_headers()
            for byte in data:
                handler.wfile.write(bytes([byte]))
                if self._stopping.wait(pause):
                    break
            handler.close_connection = True

        return answer

    def reset(self) -> Answer:
        """The connection is torn down before any answer."""

        def answer(handler: Handler) -> None:
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.close_connection = True
            handler.connection.close()

        return answer

    def half(self) -> Answer:
        """More bytes are announced than sent."""

        def answer(handler: Handler) -> None:
            data = self.body("{}")
            handler.send(200, data, content_length=str(len(data) + 100))
            handler.close_connection = True

        return answer
