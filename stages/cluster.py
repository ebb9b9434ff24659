"""The machines that share the work: this one, or the Ray cluster that the environment variable RAY_ADDRESS names.

Neither changes a byte of a result, which is why no parameter decides it: see docs/scale.md.
"""

import importlib
import os
from pathlib import Path
from typing import Any

from stages.common.entry import UserError

VARIABLE = "RAY_ADDRESS"  # Ray's own: host:port of a cluster, `auto` on one of its machines, `local` for a new one here


def cores() -> int:
    """How many processor cores this process may use: STAGE_PROCESSES, if that environment variable is set, at most."""
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
    os.environ.setdefault("RAY_gcs_server_request_timeout_seconds", "10")
    os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
    address = os.environ[VARIABLE]
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UserError(
            f"{VARIABLE} is set, but Ray is not installed: pip install -r requirements-cluster.txt"
        ) from None
    if ray.is_initialized():
        return ray
    here = str(Path.cwd())
    try:
        ray.init(
            address=address,
            include_dashboard=False if address == "local" else None,
            runtime_env={
                "env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}
            },
            logging_level="ERROR",
            log_to_driver=False,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{VARIABLE} is {address!r}, and no Ray cluster can be reached there ({reason})") from None
    return ray
