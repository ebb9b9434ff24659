"""The machines that share the work: this one, or the Ray cluster that the environment variable RAY_ADDRESS names.

Neither changes a byte of a result, which is why no parameter decides it: see docs/scale.md.
"""

import importlib
import os
import socket
from pathlib import Path
from typing import Any

from stages.common.entry import UserError

CURRENT = Path("/tmp/ray/ray_current_cluster")  # where Ray writes the address of the cluster that runs here
ANSWER_SECONDS = 5
# Ray speaks gRPC, so HTTP/2 (RFC 9113): both sides begin with a frame of settings, the client after a fixed text.
SETTINGS = b"\x04"
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + b"\0\0\0\0\0"
VARIABLE = "RAY_ADDRESS"  # Ray's own: host:port of a cluster, `auto` on one of its machines, `local` for a new one here


def cores() -> int:
    """How many processor cores this process may use; the environment variable STAGE_PROCESSES can lower it."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(here, whole("STAGE_PROCESSES", here))


def whole(variable: str, default: int) -> int:
    """The environment variable `variable` as a number, or `default`. Raises `UserError` if it is none from 1 on."""
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not int(text):
        raise UserError(f"the environment variable {variable} is {text!r}, must be a whole number from 1")
    return int(text)


def asked_for() -> bool:
    """Whether to work on a cluster."""
    return bool(os.environ.get(VARIABLE))


def connect() -> Any:
    """Ray, connected to the cluster. Raises `UserError` if it is not installed or the cluster does not answer."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS"] = "0"
    address = os.environ[VARIABLE]
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UserError(
            f"{VARIABLE} is set, but Ray is not installed: pip install -r requirements-cluster.txt"
        ) from None
    if ray.is_initialized():
        return ray
    here = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    try:
        _check(address)
        ray.init(
            address=address,
            runtime_env={"env_vars": {"PYTHONPATH": here}},
            logging_level="ERROR",
            log_to_driver=False,
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{VARIABLE} is {address!r}, and no Ray cluster can be reached there ({reason})") from None
    return ray


def _check(address: str) -> None:
    """Raise `OSError` or `ValueError` if nothing answers at `address`: Ray itself would wait for minutes."""
    if address == "local":
        return
    if address == "auto":
        if not CURRENT.exists():
            raise ValueError("no cluster runs on this machine")
        address = CURRENT.read_text().strip()
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or len(port) > 5 or int(port) > 65_535:
        raise ValueError("must be host:port, auto or local")
    with socket.create_connection((host, int(port)), ANSWER_SECONDS) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.sendall(GREETING)
        if connection.recv(4)[3:] != SETTINGS:
            raise ValueError("what answers is not Ray")
