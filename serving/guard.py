"""What every request passes: who may ask, how long it may take, and what each answer carries."""

import asyncio
import hashlib
import logging
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.metrics import Metrics

OPEN = ("/health", "/v2/health/live", "/v2/health/ready")  # without a token: they tell only that the server is up
DRAINED = 64 << 20  # bytes of a body that are read and thrown away, so that the client gets to read why it is refused
DRAIN_SECONDS = 2
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
        "media-src blob: mediastream:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
logger = logging.getLogger("uvicorn.error")


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered."""

    status: int
    words: str
    headers: dict[str, str]


class Guard:
    """ASGI middleware around `app`.

    `hosts` are the names by which the server may be asked, without the port, or None if any will do; `port` is the one
    that it listens on. With a `token` a request must bring it. A request may take `seconds`, its body included.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        hosts: frozenset[str] | None,
        port: int,
        token: str | None,
        seconds: float,
    ) -> None:
        self.app, self.metrics, self.hosts, self.port = app, metrics, hosts, port
        self.token, self.seconds = token, seconds
        # Browsers send the cookies of a host to all its ports.
        self.cookie = f"digits_{port}"
        self.cookie_value = hashlib.sha256((token or "").encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the start and the end of the server; no route is a web socket
            return await self.app(scope, receive, send)
        start = time.perf_counter()
        exchange = Exchange(scope, receive, send)
        headers = Headers(scope=scope)
        try:
            by_address = self._token_in_address(scope)
            if by_address:
                exchange.headers["Set-Cookie"] = f"{self.cookie}={self.cookie_value}; HttpOnly; SameSite=Strict; Path=/"
            refusal = self._refusal(scope, headers, by_address)
            if refusal:
                await exchange.refuse(refusal)
            else:
                async with asyncio.timeout(self.seconds):
                    await self.app(scope, exchange.receive, exchange.send)
        except TimeoutError:
            await exchange.refuse(
                Refusal(503, f"not done after {self.seconds:g} seconds: try again", {"Retry-After": "1"})
            )
        except ClientDisconnect:
            exchange.status = exchange.status or 499  # as nginx counts them
        except Exception:
            logger.exception("%s %s", scope["method"], scope["path"])
            await exchange.refuse(Refusal(500, "a mistake in the server, which its log describes", {}))
        finally:
            # The route, not what was asked for: each path would become a time series.
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.request(path, exchange.status or 499, time.perf_counter() - start)

    def _refusal(self, scope: Scope, headers: Headers, by_address: bool) -> Refusal | None:
        host = headers.get("host", "")
        if self.hosts is not None and not self._is_known(host):
            return Refusal(403, f"this server answers only to localhost:{self.port}", {})
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2].lower() != host.lower()
        if foreign and scope["method"] not in ("GET", "HEAD"):
            return Refusal(403, "a page of another site may not ask this server", {})
        if self.token is None or scope["path"] in OPEN or by_address or self._token_in_headers(headers):
            return None
        words = "a token is needed: ?token=… as the server printed it, or Authorization: Bearer …"
        return Refusal(401, words, {"WWW-Authenticate": "Bearer"})

    def _is_known(self, host: str) -> bool:
        """Whether a Host header names this machine and this port: any other name was made to lead here, by DNS."""
        with suppress(ValueError):
            asked = urlsplit(f"//{host}")
            return asked.hostname in (self.hosts or ()) and (asked.port or 80) == self.port and "@" not in host
        return False

    def _token_in_address(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0] if self.token else ""
        return self._is_token(given)

    def _token_in_headers(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return cookie is not None and secrets.compare_digest(cookie.value.encode(), self.cookie_value.encode())

    def _is_token(self, given: str) -> bool:
        return self.token is not None and secrets.compare_digest(given.encode(), self.token.encode())


class Exchange:
    """One request and its answer, with what is known of both so far."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.inner_receive, self.inner_send = scope, receive, send
        headers = Headers(scope=scope)
        self.unread = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        self.waits = headers.get("expect", "").lower() == "100-continue"  # sends its body once it is asked for
        self.status: int | None = None
        self.headers = dict(HEADERS)

    async def receive(self) -> Message:
        self.waits = False
        message = await self.inner_receive()
        self.unread = bool(message["type"] == "http.request" and message.get("more_body", False))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._drain()
            self.status = message["status"]
            MutableHeaders(scope=message).update(self.headers)
        await self.inner_send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with one line, if nothing has been answered yet."""
        if self.status is None:
            response = JSONResponse({"error": refusal.words}, refusal.status, refusal.headers)
            await response(self.scope, self.receive, self.send)

    async def _drain(self) -> None:
        """Read the rest of the body. Closed with a part unread, a connection is reset, and the answer may be lost."""
        left = DRAINED
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while self.unread and not self.waits and left > 0:
                    left -= len((await self.receive()).get("body", b""))
