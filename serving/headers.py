"""A time limit for the headers of a request: uvicorn would wait for their end for ever, and each wait costs a
connection."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def within(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which ends a connection whose next headers are not there after so many seconds, however
    many bytes of them have come. Between two requests, uvicorn's own limit holds."""

    class Punctual(H11Protocol):
        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.late = self.loop.call_later(seconds, self.end)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self.forget()
            elif self.late is None:
                self.late = self.loop.call_later(seconds, self.end)

        def connection_lost(self, exc: Exception | None) -> None:
            self.forget()
            super().connection_lost(exc)

        def forget(self) -> None:
            if self.late:
                self.late.cancel()
            self.late = None

        def end(self) -> None:
            if not self.transport.is_closing():
                self.transport.write(LATE)
                self.transport.close()

    return Punctual
