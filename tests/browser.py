"""A real browser for tests: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests import needs
from tests.support import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREENSHOTS = ROOT / "build" / "screenshots"  # for a person to check
NAMES = ("chromium", "chromium-browser", "google-chrome")


def program() -> str:
    """The path of the browser. Skips the test if this machine has none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        needs.skip("HTML pages in a browser", "install Chromium (Debian: apt-get install chromium)")
    return path


@contextmanager
def started() -> Iterator[Browser]:
    """The browser, as root may run it."""
    path = program()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def screenshot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def accessibility_violations(page: Any) -> list[str]:
    """What axe-core finds against WCAG 2.2 A and AA: rule, and the first element."""
    from axe_playwright_python.sync_playwright import Axe

    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    result = Axe().run(page, options={"runOnly": {"type": "tag", "values": rules}})
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in result.response["violations"]]
