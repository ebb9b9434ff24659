"""`make serve`: answer with the trained model, by HTTP.

    python -m serving
    curl -F picture=@seven.png http://127.0.0.1:8000/predict
    python -m serving --rev v1                                 # the way back: the model of an earlier commit or tag

Only this machine can reach it, unless --host says otherwise; then a token is needed. The connection is not encrypted:
beyond a network that you trust, put a proxy with TLS in front.
"""

import argparse
import ipaddress
import os
import secrets
import signal
import socket
from pathlib import Path

import uvicorn
from threadpoolctl import threadpool_limits

from serving.app import create
from serving.headers import within
from serving.log import ROWS, Log
from serving.reading import Reader
from serving.revision import source
from serving.service import Settings
from stages.common.entry import UserError, run

LONGEST = 3600  # seconds that a request may take


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    options.add_argument("--port", type=int, default=8000, help="port to listen on (default: 8000); 0: any free one")
    which = options.add_mutually_exclusive_group()
    which.add_argument("--models", type=Path, default=Path("models"), help="folder with model.tflite, package.json")
    which.add_argument("--rev", metavar="REVISION", help="the commit or tag whose model is served, from DVC's cache")
    options.add_argument("--log", type=Path, default=Path("logs/requests.sqlite"), help="where requests are logged")
    options.add_argument("--keep-pictures", action="store_true", help="log the pixels of each digit, too")
    options.add_argument(
        "--token",
        default=os.environ.get("SERVE_TOKEN"),
        help="the token that a request must bring; set it as SERVE_TOKEN, so that `ps` does not show it",
    )
    limits = options.add_argument_group("limits")
    limits.add_argument(
        "--threads",
        type=positive,
        default=Settings.threads,
        help="threads that read pictures (default: one for each core)",
    )
    limits.add_argument("--queue", type=natural, default=Settings.queue, help="requests that may wait (default: 64)")
    limits.add_argument(
        "--seconds", type=seconds, default=Settings.seconds, help="time limit for a request (default: 10)"
    )
    limits.add_argument("--rows", type=positive, default=ROWS, help="rows that the log keeps (default: a million)")
    chosen = options.parse_args()

    listener = listening(chosen.host, chosen.port)
    address, port = listener.getsockname()[:2]
    loopback = ipaddress.ip_address(address).is_loopback
    given = chosen.token or None
    token = given or (None if loopback else secrets.token_urlsafe())
    # Stopped in order, uvicorn sends the signal once more to whoever handled it before.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    # Each request has a thread. Matrix products that took one for each core would wait for each other.
    with threadpool_limits(1, "blas"), source(chosen.models, chosen.rev) as (models, commit):
        reader = Reader(models)
        settings = Settings(
            port=port,
            # A name that someone else made lead here is not among these. Elsewhere the token tells who may ask.
            hosts=frozenset({"localhost", "127.0.0.1", "::1", address}) if loopback else None,
            token=token,
            commit=commit,
            queue=chosen.queue,
            threads=chosen.threads,
            seconds=chosen.seconds,
        )
        with Log(chosen.log, chosen.keep_pictures, chosen.rows) as log:
            config = uvicorn.Config(
                create(reader, log, settings),
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                http=within(settings.seconds),
                # Whatever is in flight has ended by then.
                timeout_graceful_shutdown=int(settings.seconds) + 5,
            )
            # A token of the user's own stays out of what is printed, which may end up in a file.
            asked = f"?token={token}" if token != given else ""
            of = f" of {commit}" if commit else ""
            print(f"{reader.title}{of}: http://{named(address)}:{port}/{asked} (Ctrl-C stops)", flush=True)
            uvicorn.Server(config).run([listener])


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def seconds(text: str) -> float:
    if not 0 < (number := float(text)) <= LONGEST:
        raise argparse.ArgumentTypeError(f"must be above 0, at most {LONGEST}")
    return number


def natural(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return number


def stop(number: int, frame: object) -> None:
    raise SystemExit(0)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `UserError` if the port is taken or not allowed, or if `host` is not known here."""
    if not 0 <= port <= 65_535:
        raise UserError(f"--port is {port}, must be 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, proto=socket.IPPROTO_TCP)[0]
        # With the protocol named, asyncio sends a small answer at once, where it would wait 40 ms for the client's
        # acknowledgement of its first half otherwise.
        listener = socket.socket(family, kind, protocol)
        if os.name == "posix":  # on Windows this would share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        return listener
    except (OSError, OverflowError, ValueError) as error:  # the last: a name that no machine can have
        raise UserError(
            f"cannot listen on {host}, port {port} ({getattr(error, 'strerror', None) or error}): "
            "stop what does, or choose another with --port"
        ) from None


def named(address: str) -> str:
    """`address` as it stands in a URL; for "all of this machine", the one that works on it."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    return f"[{shown}]" if ":" in shown else shown


if __name__ == "__main__":
    run("serving", main)
