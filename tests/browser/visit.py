"""Open pages in headless Chromium and say what was seen, as JSON on standard output.

A process of its own: the browser's driver needs an event loop that other tests may have patched. Run as
`visit.py CHROMIUM FOLDER PAGE...`; screenshots go to FOLDER.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

LOOKS = (
    ("light", {"width": 1280, "height": 900}, "light"),
    ("dark", {"width": 1280, "height": 900}, "dark"),
    ("phone", {"width": 390, "height": 844}, "light"),
)
DARK = ("bad", "campaign", "live")
"""The pages that are looked at in the dark too: one report shows all that the others do."""
FACTS = """() => ({
    title: document.title,
    badge_at: (document.querySelector('.badge') || document.body).getBoundingClientRect().top,
    badge: (document.querySelector('.badge') || {}).innerText || '',
    width: document.documentElement.scrollWidth,
    room: document.documentElement.clientWidth,
    hacked: window.hacked === undefined ? null : window.hacked,
    images: document.images.length,
    twice: Array.from(document.querySelectorAll('[id]')).map((one) => one.id)
        .filter((id, at, all) => all.indexOf(id) !== at),
    scripts: document.scripts.length,
    paper: getComputedStyle(document.body).backgroundColor,
    unnamed: Array.from(document.querySelectorAll('svg[role=img], [role=region], button, .plot'))
        .filter((one) => !(one.getAttribute('aria-label') || one.textContent.trim())).length,
    headings: Array.from(document.querySelectorAll('thead th'))
        .filter((one) => !one.scope).length,
    charts: document.querySelectorAll('.plot').length,
    opened: performance.getEntriesByType('navigation')[0].loadEventEnd,
})"""
# Texts that stand out from what is behind them by less than WCAG's 4.5 to 1.
FAINT = """() => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((one) => one / 255)
        .map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
        .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = (one) => {
        for (let at = one; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const faint = new Set();
    for (const one of document.querySelectorAll('main *, header *, footer *')) {
        const own = Array.from(one.childNodes).some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || one.closest('svg, noscript, script') || !one.checkVisibility()) continue;
        const [a, b] = [light(parse(getComputedStyle(one).color)), light(behind(one))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) faint.add(`${one.tagName}.${one.className} ${ratio.toFixed(2)}`);
    }
    return { faint: Array.from(faint) };
}"""
DRAWN = """async () => {
    if (!window.loadgate) return { canvases: 0, blank: 0 };
    window.loadgate.drawAll();
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const inked = (canvas) => {
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        for (let at = 3; at < pixels.length; at += 4) if (pixels[at]) return true;
        return false;
    };
    const canvases = Array.from(document.querySelectorAll('.plot canvas'));
    return { canvases: canvases.length, blank: canvases.filter((one) => !inked(one)).length };
}"""
# Zoom into the middle of the first chart with the mouse: every chart over time has to follow.
ZOOM = """() => {
    const all = Array.from(window.loadgate.charts.values());
    const shown = all.filter((u) => u.loadgate.kind !== 'spectrum');
    const lows = Array.from(new Set(shown.map((u) => u.scales.x.min)));
    return { lows, hidden: document.getElementById('zoom-out').hidden };
}"""


def watched(page: Page, seen: dict[str, Any]) -> None:
    """Note what a page says on its console, what goes wrong, and every request that it makes."""

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            seen["console"].append(message.text)

    page.on("console", said)
    page.on("pageerror", lambda error: seen["console"].append(str(error)))
    page.on("request", lambda request: seen["requests"].append(request.url))


def look(browser: Browser, name_of: str, url: str, folder: Path) -> dict[str, Any]:
    """Open a page in each look; return what was seen in each."""
    found: dict[str, Any] = {}
    for name, viewport, scheme in LOOKS:
        if name == "dark" and name_of not in DARK:
            continue
        context = browser.new_context(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        seen: dict[str, Any] = {"console": [], "requests": []}
        watched(page, seen)
        begun = time.monotonic()
        page.goto(url)
        page.wait_for_load_state("load")
        seen["took"] = time.monotonic() - begun
        if name_of == "live":
            page.wait_for_function("() => document.querySelector('#objectives table')")
        seen["words"] = page.inner_text("main") if page.locator("main").count() else page.inner_text("body")
        seen |= page.evaluate(FACTS)
        seen |= page.evaluate(DRAWN)
        seen |= page.evaluate(FAINT)
        if name == "light":
            seen |= used(page)
        page.screenshot(path=folder / f"{name_of}-{name}.png", full_page=name == "light")
        found[name] = seen
        context.close()
    return found


def used(page: Page) -> dict[str, Any]:
    """Use a page as a reader does: a name in a legend, zoom, the keyboard, the theme."""
    found = charts_used(page) if page.locator(".plot[data-kind=time] .u-over").count() else {}
    if page.locator("#theme").count():
        page.click("#theme")
        found["toggled"] = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
    if page.locator("#which").count():
        found["tops"] = {}
        for name in ("p50", "p95", "p99"):
            page.select_option("#which", label=name)
            found["tops"][name] = page.locator("#latency text").nth(2).text_content()
    return found


def charts_used(page: Page) -> dict[str, Any]:
    """Zoom in one chart and back, and hide a line with the keyboard."""
    plot = page.locator(".plot[data-kind=time] .u-over").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 50, steps=4)
    page.mouse.up()
    zoomed = page.evaluate(ZOOM)
    page.click("#zoom-out")
    label = page.locator(".u-legend .u-series th[role=button]").first
    label.focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(20)
    pressed = label.get_attribute("aria-pressed")
    page.keyboard.press("Enter")
    return {"zoomed": zoomed, "whole": page.evaluate(ZOOM), "pressed": pressed}


def main(chromium: str, folder: Path, pages: list[str]) -> None:
    """Look at every page, a file or NAME=URL; print what was seen by the page's name."""
    with sync_playwright() as playwright:
        # Only root's browsers lack the sandbox, and these open nothing but pages that we made.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        named = [
            page.split("=", 1) if "=" in page else (Path(page).stem, Path(page).as_uri()) for page in pages
        ]
        found = {name: look(browser, name, url, folder) for name, url in named}
        browser.close()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
