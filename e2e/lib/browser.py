"""Chromium without a window: where it is, and a page whose complaints are kept."""

import os
import shutil
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def executable() -> str | None:
    """`$VDT_CHROMIUM`, or the first known name on the PATH."""
    if os.environ.get("VDT_CHROMIUM"):
        return os.environ["VDT_CHROMIUM"]
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def missing() -> str | None:
    """Why no browser can be driven here, if so."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed (e2e/setup.sh)"
    return None if executable() else "Chromium is missing: apt-get install chromium, or name one in $VDT_CHROMIUM"


@contextmanager
def chromium():
    """A browser. A page's sandbox needs user namespaces that containers and root do not have; it only ever loads our own page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=executable(), args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """One page of a fresh profile, and everything that it complained about."""

    def __init__(self, browser, width: int, scheme: str, height: int = 900):
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("request", lambda r: self.requests.append(r.url))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def overflow(self) -> int:
        """CSS pixels that the document is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
