"""The page: served to this computer alone, at an address that nobody can guess.

A request is answered only if it names this server's own host (a page of another name that leads
here, as by DNS rebinding, does not), comes from no other page, and has the token in its path. What
the page may load is its own files, and whatever text it gets is text.
"""

import asyncio
import json
import logging
import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.server import Server as WebSockets
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from ..errors import Attn8Error
from .history import KEPT, History
from .results import About, Result

ADDRESS = "127.0.0.1"
PAGE = Path(__file__).with_name("page")
FILES = {"": ("index.html", "text/html"), "app.js": ("app.js", "text/javascript"),
         "style.css": ("style.css", "text/css")}
SOCKET = "live"
POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
CLOSING = 2  # seconds that a page has to take what is left

SILENT = logging.getLogger("attn8.watch")  # what strangers send is answered, and no one's news
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


class Server:
    """A View that serves the page, in a thread of its own, until it is closed.

    Args:
        port: of 127.0.0.1; 0: any that is free.

    Raises:
        Attn8Error: the port is in use.
    """

    def __init__(self, port: int = 0):
        try:
            listening = socket.create_server((ADDRESS, port))
        except OSError as error:
            raise Attn8Error(f"--port {port}: {os.strerror(error.errno or 0)}; give another, "
                             "or none") from None
        self.token = secrets.token_urlsafe(16)
        self.port: int = listening.getsockname()[1]
        self._hosts = {f"{name}:{self.port}" for name in (ADDRESS, "localhost")}
        self._files = {name: (PAGE.joinpath(file).read_bytes(), kind)
                       for name, (file, kind) in FILES.items()}
        self._history: History[bytes] = History()
        self._said: dict[str, str] = {}  # the last message of each kind but results
        self._news = asyncio.Event()  # set, and replaced, whenever there is something to send
        self._ended = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://{ADDRESS}:{self.port}/{self.token}/"

    def about(self, about: About) -> None:
        self._say("about", asdict(about) | {"kept": KEPT})

    def status(self, state: str, text: str) -> None:
        self._say("status", {"state": state, "text": text})

    def result(self, seconds: float, result: Result) -> None:
        self._call(self._add, seconds, result)

    def close(self) -> None:
        """Sends what is left and ends."""
        if self._thread.is_alive():
            self._call(self._end)
            self._thread.join()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(self, kind: str, content: dict[str, Any]) -> None:
        self._call(self._keep, kind, json.dumps({"type": kind} | content))

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """Has the server's own thread do it."""
        self._loop.call_soon_threadsafe(function, *arguments)

    # What follows runs in the server's thread alone

    def _keep(self, kind: str, text: str) -> None:
        self._said[kind] = text
        self._wake()

    def _add(self, seconds: float, result: Result) -> None:
        self._history.add(packed(self._history.count, seconds, result))
        self._wake()

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _run(self, listening: socket.socket) -> None:
        try:
            self._loop.run_until_complete(self._serve(listening))
        finally:
            self._loop.close()

    async def _serve(self, listening: socket.socket) -> None:
        server: WebSockets
        async with serve(
            self._feed, sock=listening, process_request=self._answer, compression=None,
            max_size=1024, max_queue=1, close_timeout=CLOSING, server_header=None, logger=SILENT,
        ) as server:
            while not self._ended:
                await self._news.wait()
            pages = [asyncio.ensure_future(each.wait_closed()) for each in server.connections]
            if pages:
                await asyncio.wait(pages, timeout=CLOSING)

    async def _feed(self, connection: ServerConnection) -> None:
        """Sends a page what there is, and then what comes; a slow one misses results."""
        said: dict[str, str] = {}
        number = 0
        closed = asyncio.ensure_future(connection.wait_closed())
        try:
            while not closed.done():
                news, ended = self._news, self._ended
                for kind, text in list(self._said.items()):
                    if said.get(kind) != text:
                        said[kind] = text
                        await connection.send(text)
                if number < self._history.count:
                    first, number = number, self._history.count
                    for message in list(self._history.since(first)):
                        await connection.send(message)
                if ended:
                    return
                await _either(news, closed)
        except ConnectionClosed:
            pass
        finally:
            closed.cancel()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """None: to a WebSocket that may be opened."""
        if getattr(request, "method", "GET") != "GET":  # before websockets 17 none came so far
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, b"expected GET\n", "text/plain")
        headers = request.headers
        hosts, origins = headers.get_all("Host"), headers.get_all("Origin")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return _refused("another host")
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            return _refused("another origin")
        token, _, name = request.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.token.encode()):
            return _refused("a wrong token")
        if name == SOCKET:
            return None if origins else _refused("no origin")
        if name not in self._files:
            return _response(HTTPStatus.NOT_FOUND, b"there is no such file\n", "text/plain")
        return _response(HTTPStatus.OK, *self._files[name])


async def _either(news: asyncio.Event, closed: asyncio.Future[Any]) -> None:
    """Waits until there is news, or a connection is closed."""
    waiting: asyncio.Future[Any] = asyncio.ensure_future(news.wait())
    try:
        await asyncio.wait([waiting, closed], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _refused(what: str) -> Response:
    return _response(HTTPStatus.FORBIDDEN, f"refused: {what}\n".encode(), "text/plain")


def _response(status: HTTPStatus, body: bytes, kind: str) -> Response:
    headers = Headers(POLICY)
    headers["Content-Type"] = f"{kind}; charset=utf-8"
    headers["Content-Length"] = str(len(body))
    headers["Connection"] = "close"
    return Response(status.value, status.phrase, headers, body)


def packed(number: int, seconds: float, result: Result) -> bytes:
    """A result as the page takes it: the length of a JSON text, uint32; the text, of an even number
    of bytes; and the maps one behind another, uint16. All little endian."""
    head = json.dumps({
        "number": number,
        "seconds": round(seconds, 3),
        "answer": result.answer,
        "truth": result.truth,
        "probabilities": np.round(result.probabilities, 5).tolist(),
        "signal": [float(f"{value:.6g}") for value in result.signal.ravel()],
        "channels": result.signal.shape[1],
        "length": result.length,
        "microseconds": result.microseconds,
        "heap": result.heap,
        "by_board": result.by_board,
        "gaps": result.gaps,
    }, separators=(",", ":")).encode()
    head += b" " * (len(head) % 2)
    maps = b"".join(each.astype("<u2").tobytes() for each in result.maps)
    return struct.pack("<I", len(head)) + head + maps
