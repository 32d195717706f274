"""The thread that listens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

from edgekit.config.page import WebConfig
from edgekit.errors import MissingExtraError, UnavailableError
from edgekit.web.board import Board

log = logging.getLogger("edgekit.web")
VISITS = 64  # connections at once
END_S = 3.0


@contextlib.contextmanager
def serve(board: Board | None) -> Iterator[str | None]:
    """Within the block the page is there, at the address that is yielded; without a board there is none.

    Raises MissingExtraError without the extra `web`, UnavailableError when the port cannot be had.
    """
    if board is None:
        yield None
        return
    try:
        import prometheus_client  # noqa: F401  (all three or none)
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(str(error.name), "web") from None
    listener = _listen(board.settings)
    thread = _Thread(board, listener)
    thread.start()
    try:
        yield address(board.settings)
    finally:
        thread.stop()


def address(settings: WebConfig) -> str:
    """Where a browser finds the page; the token is not in it."""
    host = settings.host
    if host in ("0.0.0.0", "::"):  # noqa: S104  (nothing is bound here)
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/"


def _listen(settings: WebConfig) -> socket.socket:
    """Bound here and now, so that a port that is taken is told at once."""
    with contextlib.ExitStack() as unless_bound:
        try:
            family, *_, where = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
            listener = unless_bound.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen()  # who is told the address may ask at once; two may bind, but only one listen
            unless_bound.pop_all()
        except OSError as error:
            why = error.strerror or str(error)
            raise UnavailableError(
                f"no page at {settings.host}:{settings.port}: {why}: choose another web.port or web.host"
            ) from None
    return listener


class _Thread(threading.Thread):
    """uvicorn with a loop of its own."""

    def __init__(self, board: Board, listener: socket.socket) -> None:
        super().__init__(name="web", daemon=True)
        import uvicorn

        self._board, self._listener = board, listener
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        logging.getLogger("uvicorn").setLevel(logging.ERROR)  # its other lines are about itself
        self._server = uvicorn.Server(self._config())

    def _config(self) -> Any:
        import uvicorn

        from edgekit.web.site import site

        return uvicorn.Config(
            site(self._board, self._closing),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            http="h11",
            loop="asyncio",
            limit_concurrency=VISITS,
            timeout_graceful_shutdown=1,
        )

    def run(self) -> None:
        with self._listener, contextlib.closing(self._loop):
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._server.serve(sockets=[self._listener]))
            self._loop.run_until_complete(self._loop.shutdown_default_executor())

    def stop(self) -> None:
        """Let every visitor go, and wait until it is so."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._end)
        self.join(END_S)
        if self.is_alive():
            log.warning("the page does not end in %.0f s: it is left behind", END_S)

    def _end(self) -> None:
        self._closing.set()
        self._board.close()
        self._server.should_exit = True
