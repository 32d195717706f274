"""Which address answers what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import cache
from importlib import resources

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from edgekit.web.access import Access
from edgekit.web.board import Board
from edgekit.web.metrics import exposition

FIGURES_EVERY_S = 1.0
WAIT_S = 2.0  # how long an answer waits for a frame; a browser asks six things of a server at once
STATIC = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def site(board: Board, closing: asyncio.Event) -> ASGIApp:
    """The whole site as an ASGI app; once `closing` is set, nothing waits any more."""
    pages = Pages(board, closing)
    routes = [
        Route("/", pages.index),
        Route("/login", pages.login),
        Route("/static/{name}", pages.static),
        Route("/events", pages.events),
        Route("/figures", pages.figures),
        Route("/cameras/{camera}/picture", pages.picture),
        Route("/metrics", pages.metrics),
        Route("/healthz", pages.healthz),
    ]
    return Access(Starlette(routes=routes), board.settings)


class Pages:
    """One method for each address."""

    def __init__(self, board: Board, closing: asyncio.Event) -> None:
        self._board = board
        self._closing = closing

    async def index(self, _request: Request) -> Response:
        return Response(_file("index.html"), media_type="text/html")

    async def login(self, _request: Request) -> Response:
        return Response(_file("login.html"), media_type="text/html")

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return PlainTextResponse("there is no such file\n", 404)
        return Response(_file(name), media_type=STATIC[name])

    async def figures(self, _request: Request) -> Response:
        """All figures once."""
        return JSONResponse(self._board.figures())

    async def events(self, _request: Request) -> Response:
        """All figures again and again, as server-sent events."""
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[bytes]:
        while not self._closing.is_set():
            text = json.dumps(self._board.figures(), separators=(",", ":"))
            yield f"data: {text}\n\n".encode()
            await self._pause(FIGURES_EVERY_S)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            pass

    async def picture(self, request: Request) -> Response:
        """The next picture of a camera that is newer than number `?after=`; 204 when none comes for a while.

        What lies over it stands in the header `X-Edgekit-Overlay`, so that both are of the same moment. In
        privacy mode there is the header alone.
        """
        camera = request.path_params["camera"]
        after = request.query_params.get("after", "0")
        if camera not in self._board.facts.cameras or not (after.isdecimal() and len(after) < 16):
            return PlainTextResponse("there is no such camera\n", 404)
        shot = await self._board.next_shot(camera, int(after), WAIT_S)
        if shot is None:
            return Response(status_code=204)
        headers = {"X-Edgekit-Overlay": json.dumps(self._board.overlay(shot), separators=(",", ":"))}
        if self._board.settings.privacy:
            return Response(status_code=204, headers=headers)
        return Response(await self._board.jpeg(shot), headers=headers, media_type="image/jpeg")

    async def metrics(self, request: Request) -> Response:
        text, content_type = exposition(self._board, request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": content_type})

    async def healthz(self, _request: Request) -> Response:
        """200 while frames are looked at."""
        trouble = self._board.progress.trouble()
        if trouble is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "error", "reason": trouble}, 503)


@cache
def _file(name: str) -> bytes:
    return resources.files("edgekit.web").joinpath("static", name).read_bytes()
