"""What an etcd may answer that a real one cannot be made to: each path has its own answers, said in turn."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["ScriptedHandler"], None]


class ScriptedServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ScriptedHandler)
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, Any]] = []
        self.ended = threading.Event()


class ScriptedHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, request))
        answers = self.server.answers[self.path]
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""

    def say(self, status: int, content: str, **headers: str) -> None:
        body = content.encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class ScriptedEtcd:
    """The last answer of a path is said ever after."""

    def __init__(self, **answers: list[Answer]) -> None:
        self._server = ScriptedServer()
        self._server.answers = {f"/v3/{name.replace('__', '/')}": list(said) for name, said in answers.items()}
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> ScriptedEtcd:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def requests(self, path: str) -> list[Any]:
        return [request for asked, request in self._server.asked if asked == path]

    def count(self, path: str) -> int:
        return sum(asked == path for asked, _ in self._server.asked)


def content(status: int, text: str, **headers: str) -> Answer:
    return lambda handler: handler.say(status, text, **headers)


def refusal(sentence: str) -> Answer:
    return content(503, json.dumps({"code": 14, "message": sentence}))


def last_words(text: str) -> Answer:
    """The member stops after this answer, as it says in it."""

    def answer(handler: ScriptedHandler) -> None:
        handler.say(200, text, Connection="close")
        handler.close_connection = True

    return answer


def stream(*lines: str) -> Answer:
    """Goes on until the script ends; it says nothing more."""

    def answer(handler: ScriptedHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for line in lines:
            body = f"{line}\n".encode()
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
        handler.wfile.flush()
        handler.server.ended.wait()

    return answer


def silence(handler: ScriptedHandler) -> None:
    handler.server.ended.wait()
