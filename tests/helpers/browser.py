"""The system's Chromium, for tests of what runs in a browser."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--no-sandbox",  # a container's root cannot have one
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, headless. A test opens its own page in it and closes it: `with browser.new_page() as page:`."""
    path = chromium()
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=OPTIONS) as launched:
        yield launched


def chromium() -> str:
    """The path of Chromium: the environment variable CHROMIUM, else what is found on the PATH.

    Without any the test is skipped, except on a CI server, where it fails: nobody reads there what was skipped.
    """
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path:
        return path
    missing = f"needs a browser: install one of {', '.join(NAMES)}, or name its file in CHROMIUM"
    return pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
