"""The report in a real browser, from disk and with the network off: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgebench import store
from edgebench.codec import Options
from edgebench.report import html
from edgebench.report.spread import spreads
from edgebench.report.table import Source, build_all
from edgebench.schema import DeviceProfile

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
PUBLISHED = Path(__file__).parents[2] / "results/published/local/quick"
WIDTHS = (360, 768, 1440)

OVERLAPS = """() => {
  const seen = [], out = [];
  const boxes = [...document.querySelectorAll("h1, h2, p, dt, dd, figcaption, summary, button, input, th, td, svg.chart")]
    .filter((e) => e.checkVisibility() && !e.closest("caption") && !e.querySelector("p, table, th, td, svg, button, dl"));
  for (const e of boxes) {
    const b = e.getBoundingClientRect();
    if (b.width < 1 || b.height < 1 || e.closest(".wide")) continue;
    for (const [other, o] of seen) {
      const x = Math.min(b.right, o.right) - Math.max(b.left, o.left), y = Math.min(b.bottom, o.bottom) - Math.max(b.top, o.top);
      const apart = x <= 1 || y <= 1 || other.contains(e) || e.contains(other);
      if (!apart) out.push([other.outerHTML.slice(0, 80), e.outerHTML.slice(0, 80)]);
    }
    seen.push([e, b]);
  }
  return out;
}"""
LETTERS = """() => [...document.querySelectorAll("svg.chart")].flatMap((svg) => {
  const texts = [...svg.querySelectorAll("text")].map((t) => [t.textContent, t.getBoundingClientRect()]), out = [];
  const frame = svg.getBoundingClientRect();
  texts.forEach(([a, p], i) => {
    if (p.left < frame.left - 1 || p.right > frame.right + 1) out.push(["outside", a]);
    texts.slice(i + 1).forEach(([b, q]) => {
      const x = Math.min(p.right, q.right) - Math.max(p.left, q.left), y = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (x > 1 && y > 2) out.push([a, b]);
    });
  });
  return out;
})"""
CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = (c) => {
    const [r, g, b] = c.map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const worded = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  return [...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && worded(e)).map((e) => {
    const style = getComputedStyle(e), inside = e.closest("svg");
    const a = light(parse(inside ? style.fill : style.color).slice(0, 3)), b = light(behind(inside || e));
    return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.tagName, e.textContent.slice(0, 40)];
  }).filter(([ratio]) => ratio < 4.5);
}"""


def violations(page: Any) -> list[tuple[str, list[str]]]:
    """What axe-core, which comes with its package, finds wrong for people who do not see, or not well: rule and elements."""
    found = axe.Axe().run(page).response["violations"]
    return [(rule["id"], [node["html"][:160] for node in rule["nodes"]]) for rule in found]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = store.open_run(PUBLISHED)
    table = build_all([Source(run=folder.run, results=folder.results(), spreads=spreads(folder.samples()))])
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html.render(table), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three devices: this one, a board, and one with a long name that was measured quickly with one thread and with two."""
    folder = store.open_run(PUBLISHED)
    sources = [Source(run=folder.run, results=folder.results(), spreads=spreads(folder.samples()))]
    for name, threads in (("board", (1,)), ("gateway-of-the-test-field", (1, 2))):
        plan = {**folder.run.plan, "protocol": {"trust": "quick"}} if len(threads) > 1 else folder.run.plan
        run = replace(folder.run, id=f"20261124T000000Z-{name}", device=DeviceProfile(name=name), plan=Options(plan))
        cells = [(r, replace(r.cell, device=name, threads=t)) for t in threads for r in folder.results()]
        sources.append(Source(run=run, results=[replace(r, cell=c, baseline=None) for r, c in cells]))
    table = build_all(sources)
    path = tmp_path_factory.mktemp("pages") / "report.html"
    path.write_text(html.render(table), encoding="utf-8")
    return path


def opened(browser: Any, path: Path, width: int = 1440, scheme: str = "light") -> tuple[Any, list[str], list[str]]:
    """The page, and what it complained of and asked of a network."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.context.set_offline(True)
    errors: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    return page, errors, requests


@pytest.mark.parametrize("which", ["report", "comparison"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overlaps_and_everything_can_be_read(
    browser: Any, width: int, scheme: str, which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = request.getfixturevalue(which)
    page, errors, requests = opened(browser, path, width, scheme)
    page.screenshot(path=tmp_path / f"{which}-{width}-{scheme}.png", full_page=True)
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(LETTERS) == []
    assert page.evaluate(CONTRAST) == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("which", "width"), [("report", 360), ("report", 1440), ("comparison", 1440)])
def test_axe_finds_nothing_wrong(
    browser: Any, width: int, scheme: str, which: str, request: pytest.FixtureRequest
) -> None:
    page, _, _ = opened(browser, request.getfixturevalue(which), width, scheme)
    assert violations(page) == []
    page.close()


def test_axe_finds_what_is_wrong(browser: Any, report: Path) -> None:
    page, _, _ = opened(browser, report)
    page.evaluate("document.querySelector('label[for=filter]').remove()")
    page.evaluate("document.querySelector('#filter').removeAttribute('placeholder')")
    page.evaluate("document.querySelector('h1').style.color = '#eee'")
    found = dict(violations(page))
    assert found["label"][0].startswith('<input id="filter"')
    assert found["color-contrast"][0].startswith("<h1")
    page.close()


def test_sorting_filtering_and_the_figures_of_a_row(browser: Any, report: Path) -> None:
    page, errors, _ = opened(browser, report)
    head = page.locator("#rows > thead th", has_text="latency")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    first = page.locator("#rows > tbody > tr:first-child").first
    assert "31.1 ± 0.5 µs" in first.inner_text()
    head.locator("button").click()
    assert "673 ± 7 µs" in page.locator("#rows > tbody > tr:first-child").first.inner_text()
    page.fill("#filter", "INT8 openvino")
    assert page.locator("#count").inner_text() == "2 of 15 rows"
    button = page.locator("#rows tbody th button").first
    assert button.get_attribute("aria-expanded") == "false"
    button.click()
    assert page.locator("tr.below:visible").count() == 1
    assert "perf_counter_ns" in page.locator("tr.below:visible").inner_text()
    page.fill("#filter", "")
    page.click("#open")
    assert page.locator("tr.below:visible").count() == 15
    assert errors == []
    page.close()


def test_light_and_dark_by_the_button_and_without_scripts_all_rows(browser: Any, report: Path) -> None:
    page, _, _ = opened(browser, report, scheme="dark")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Switch to light").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.close()
    still = browser.new_context(java_script_enabled=False).new_page()
    still.goto(report.as_uri())
    assert still.locator("#rows > tbody").count() == 15
    assert still.locator("tr.below").first.is_visible()
    still.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_that_is_wider_than_the_page_says_so(browser: Any, comparison: Path, width: int) -> None:
    page, errors, _ = opened(browser, comparison, width)
    assert page.locator("#wider").is_visible()
    name = page.locator("#rows > tbody > tr:first-child > th").first
    before = name.bounding_box()["x"]
    assert page.locator("#table .wide.cut").count() == 1
    page.locator("#table .wide").evaluate("(e) => { e.scrollLeft = e.scrollWidth; }")
    page.locator("#table .wide.cut").wait_for(state="detached")
    assert abs(name.bounding_box()["x"] - before) < 1
    assert page.locator("#rows > thead th").last.bounding_box()["x"] < width
    page.fill("#filter", "no row has this")
    assert errors == []
    page.close()


def test_no_name_of_a_chart_is_cut(browser: Any, comparison: Path) -> None:
    page, _, _ = opened(browser, comparison)
    names = page.locator("svg.chart text").all_text_contents()
    assert "distilled-int8 on onnxruntime" in names
    assert [words for words in names if "…" in words] == []
    page.close()


def test_a_long_table_comes_in_pages(browser: Any, tmp_path: Path) -> None:
    folder = store.open_run(PUBLISHED)
    many = [replace(r, cell=replace(r.cell, threads=n + 1)) for n in range(40) for r in folder.results()]
    path = tmp_path / "long.html"
    path.write_text(html.render(build_all([Source(run=folder.run, results=many)])), encoding="utf-8")
    page, errors, _ = opened(browser, path)
    assert page.locator("#rows > tbody").count() == 200
    page.get_by_role("button", name="Next").click()
    assert "Page 2 of 3" in page.locator("#pages").inner_text()
    assert json.loads(page.evaluate("JSON.stringify([...document.querySelectorAll('#rows > tbody')].length)")) == 200
    assert errors == []
    page.close()
