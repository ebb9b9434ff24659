"""A server whose answers are wrong, each in its own way."""

import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

ANSWERS = (
    "endless",
    "slow",
    "silent",
    "too_short",
    "too_long",
    "negative_length",
    "circle",
    "to_a_file",
    "to_nowhere",
    "escape",
    "long_reason",
    "500",
    "503",
    "404",
    "403",
    "204",
    "page",
    "garbage",
    "half_headers",
    "many_headers",
    "compressed_twice",
    "chunks",
    "empty",
)


class Answers(BaseHTTPRequestHandler):
    """The first folder of the address says how it is answered."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        with suppress(OSError):  # whoever asks may have had enough
            self.answer(self.path.split("/")[1])

    def answer(self, how: str) -> None:
        if how == "endless":
            self.head(200)
            while True:
                self.wfile.write(b"\x1f\x8b\x08\x00" + bytes(2**16))
        elif how == "slow":
            self.head(200, ("Content-Length", "1000000"))
            while True:
                self.wfile.write(b"\x1f")
                time.sleep(1)
        elif how == "silent":
            time.sleep(30)
        elif how in ("too_short", "too_long", "negative_length"):
            self.head(200, ("Content-Length", {"too_short": "1000", "too_long": "5"}.get(how, "-1")))
            self.wfile.write(bytes(100))
        elif how in ("circle", "to_a_file", "to_nowhere"):
            targets = {"to_a_file": "file:///etc/passwd", "to_nowhere": "http://127.0.0.1:9/"}
            self.head(302, ("Location", targets.get(how, self.path)), ("Content-Length", "0"))
        elif how in ("escape", "long_reason"):
            reason = b"\x1b[2J\x1b]0;owned\x07\r oh" if how == "escape" else b"x" * 60_000
            self.wfile.write(b"HTTP/1.1 404 " + reason + b"\r\nContent-Length: 0\r\n\r\n")
        elif how.isdigit():
            self.head(int(how), ("Content-Length", "0"))
        elif how == "garbage":
            self.wfile.write(bytes(range(256)) * 100)
        elif how == "half_headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Len")
        elif how == "many_headers":
            self.head(200, *((f"X-{number}", "x" * 100) for number in range(200)))
        elif how == "compressed_twice":
            self.head(200, ("Content-Encoding", "gzip"))
            self.wfile.write(bytes(100))
        elif how == "chunks":
            self.head(200, ("Transfer-Encoding", "chunked"))
            self.wfile.write(b"ffffffffffffffffffff\r\n" + bytes(100))
        else:
            self.head(200)
            self.wfile.write(b"<html>Sign in" if how == "page" else b"")

    def head(self, status: int, *headers: tuple[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """The address of each wrong answer by its name; `folder` holds the certificate that nobody trusts."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    made = subprocess.run([*request, "-keyout", key, "-out", certificate], capture_output=True)
    plain, secret = (ThreadingHTTPServer(("127.0.0.1", 0), Answers) for _ in range(2))
    addresses = {how: f"http://127.0.0.1:{plain.server_port}/{how}/" for how in ANSWERS}
    addresses["plain HTTP for HTTPS"] = f"https://127.0.0.1:{plain.server_port}/404/"
    if made.returncode == 0:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        secret.socket = context.wrap_socket(secret.socket, server_side=True)
        addresses["a certificate that nobody trusts"] = f"https://127.0.0.1:{secret.server_port}/404/"
    for server in (plain, secret):
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield addresses
    finally:
        for server in (plain, secret):
            server.shutdown()
            server.server_close()
