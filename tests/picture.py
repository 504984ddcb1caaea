"""The README's picture: the report of the published run, as Debian's Chromium shows it."""

from __future__ import annotations

from tests.tables import ROOT, RUN

WIDTH, HEIGHT = 1180, 1500


def take() -> None:
    """Write report.png beside the report of the published run."""
    from playwright.sync_api import sync_playwright

    folder = ROOT / RUN
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto((folder / "report.html").as_uri())
        page.screenshot(path=str(folder / "report.png"))
        browser.close()


if __name__ == "__main__":
    take()
