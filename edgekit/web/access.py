"""Who may ask: without a token this machine alone, with one whoever knows it.

A browser shows the token once (a form, or `/?token=...`) and then carries a cookie that is made from it;
programs send `Authorization: Bearer TOKEN`. `/healthz` is for everybody: it says nothing but ok or not.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgekit.config.page import WebConfig

COOKIE = "edgekit"
FOR_ALL = ("/healthz", "/login", "/static/page.css", "/static/icon.svg")
WRONG_COSTS_S = 1.0
ONLY_LOCAL = "only this machine may ask, as localhost or 127.0.0.1: set web.token to let others in"
_HOST = re.compile(r"(?P<name>(?P<v4>127(\.[0-9]+){3})|\[[^\]]*\]|[^:]*)(:[0-9]+)?")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; form-action 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Access:
    """The door before a site: an ASGI app around another."""

    def __init__(self, site: ASGIApp, settings: WebConfig) -> None:
        self._site = site
        self._key = settings.token.get_secret_value() if settings.token else None
        self._cookie = hashlib.sha256(f"edgekit page {self._key}".encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        answer = await self._refusal(request)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        await (answer or self._site)(scope, receive, send_guarded)

    async def _refusal(self, request: Request) -> Response | None:
        """What somebody is told who may not pass; None for those who may."""
        if self._key is None:
            return (
                None
                if _is_local(request.headers)
                else _no(
                    ONLY_LOCAL,
                    421,
                )
            )
        if request.url.path == "/login" and request.method == "POST":
            form = (await request.body())[:4096].decode(errors="replace")
            return await self._let_in(_field(form, "token"))
        if "token" in request.query_params:
            return await self._let_in(request.query_params["token"])
        if request.url.path in FOR_ALL or self._knows(request):
            return None
        if request.url.path == "/":
            return RedirectResponse("/login", 303)
        return _no("a token is needed: Authorization: Bearer TOKEN, or the page's form", 401)

    async def _let_in(self, token: str) -> Response:
        if not self._is_key(token):
            await asyncio.sleep(WRONG_COSTS_S)
            return RedirectResponse("/login?wrong", 303)
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, self._cookie, max_age=30 * 86_400, httponly=True, samesite="strict")
        return response

    def _knows(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._is_key(token.strip())
        return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self._cookie.encode())

    def _is_key(self, token: str) -> bool:
        return self._key is not None and hmac.compare_digest(token.encode(), self._key.encode())


def _is_local(headers: Headers) -> bool:
    """By the name that the visitor used: another site's page must not ask in a local browser's name."""
    found = _HOST.fullmatch(headers.get("host", ""))
    return found is not None and (found["name"] in {"localhost", "[::1]"} or bool(found["v4"]))


def _field(form: str, name: str) -> str:
    from urllib.parse import parse_qs

    return parse_qs(form).get(name, [""])[0]


def _no(why: str, status: int) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return PlainTextResponse(why + "\n", status, headers)
