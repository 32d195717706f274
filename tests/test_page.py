"""The live page as a person sees it: in a real Chromium, wide and narrow, light and dark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from boards import Filled, page, person
from brokers import free_port, until
from chromium import Chromium, chromium

PYTHON = os.environ.get("EDGEKIT_PYTHON", sys.executable)
WHITE, BLACK = 200, 60  # brightness of a ground that is light, that is dark

CONTRAST = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92
    : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const color = parse(getComputedStyle(node).backgroundColor);
      if (color[3] === undefined || color[3] > 0.5) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!text || !node.checkVisibility() || node.closest("noscript, .stage")) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(`${node.className} ${node.textContent}`);
  }
  return poor;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


class Walk(threading.Thread):
    """Somebody walks through the picture until the block ends."""

    def __init__(self, filled: Filled) -> None:
        super().__init__()
        self._filled, self._end = filled, threading.Event()

    def run(self) -> None:
        self._filled.tell("new", person())
        while not self._end.wait(0.05):
            self._filled.see(person())

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()


@pytest.fixture
def watched(browser: Chromium) -> Iterator[tuple[Filled, Chromium, str]]:
    browser.complaints.clear()
    browser.resize(1280, 900)
    browser.prefer(prefers_color_scheme="light")
    with page() as (filled, address), Walk(filled):
        browser.open(address)
        browser.until("document.querySelector('[data-camera=front] .things b') !== null")
        yield filled, browser, address
        assert browser.complaints == []
        browser.open("about:blank?end")


def text(browser: Chromium, selector: str) -> str:
    return str(browser.run(f"document.querySelector({json.dumps(selector)}).innerText"))


def brightness(png: bytes) -> float:
    """Of the page's lower left corner, where nothing stands."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return float(image[-4:, :4].mean())


def test_the_page_shows_each_camera_with_all_that_is_known(watched: tuple[Filled, Chromium, str]) -> None:
    _, browser, _ = watched
    browser.until("document.querySelector('[data-camera=front] .names b.line') !== null")
    front = "[data-camera=front] "
    assert text(browser, front + ".things b") == "person 0.87 #7"
    assert text(browser, front + ".there") == "1 person"
    assert text(browser, front + '[data-is="fps"]') == "5.0 fps"
    assert text(browser, front + '[data-is="latency"]') == "30 ms"
    assert text(browser, front + ".names b.zone") == "drive · 1"
    assert text(browser, front + ".names b.line") == "gate 3 in · 2 out"
    assert "intruder: ALARM" in text(browser, front + ".tags")
    assert text(browser, "[data-camera=back] .pill") == "offline"
    assert "is not there" in text(browser, "[data-camera=back] .veil")
    machine = text(browser, "#machine").replace("\n", " ")
    for told in (
        "30 ms · 45 ms",
        "96 MB",
        "9.3 MB of 150",
        "broker.lan:1883",
        "7 wait",
        "on disk, 4 KiB",
        "raspberry-pi-4",
    ):
        assert told in machine
    assert "front: person #7 came" in text(browser, "#events")
    assert browser.run("document.querySelector('[data-camera=front] img').naturalWidth") == 320


def test_names_of_places_at_the_edge_are_whole(watched: tuple[Filled, Chromium, str]) -> None:
    _, browser, _ = watched
    browser.until("document.querySelector('[data-camera=front] .names b.line') !== null")
    cut = browser.run(
        "(() => { const all = document.querySelector('[data-camera=front] .stage').getBoundingClientRect();"
        " return [...document.querySelectorAll('[data-camera=front] .names b')].filter((name) => {"
        " const one = name.getBoundingClientRect();"
        " return one.left < all.left || one.right > all.right || one.top < all.top; })"
        ".map((name) => name.innerText); })()"
    )
    assert cut == []


def test_boxes_lie_where_the_thing_is(watched: tuple[Filled, Chromium, str]) -> None:
    _, browser, _ = watched
    shares = browser.run(
        "(() => { const box = document.querySelector('.things i').getBoundingClientRect();"
        " const all = document.querySelector('.stage').getBoundingClientRect();"
        " return [(box.left - all.left) / all.width, (box.top - all.top) / all.height,"
        " box.width / all.width, box.height / all.height]; })()"
    )
    assert shares == pytest.approx([0.2, 0.25, 0.3, 0.7], abs=0.01)


def test_pictures_and_figures_go_on_by_themselves(watched: tuple[Filled, Chromium, str]) -> None:
    filled, browser, _ = watched
    number = browser.run("Number(document.querySelector('.stage').dataset.number)")
    browser.until(f"Number(document.querySelector('.stage').dataset.number) > {number + 3}")
    filled.status["back"] = "disabled"
    browser.until("document.querySelector('[data-camera=back] .pill').innerText === 'disabled'")


def test_a_changed_config_that_is_not_taken_is_told(watched: tuple[Filled, Chromium, str]) -> None:
    filled, browser, _ = watched
    assert not browser.run("document.querySelector('#trouble').checkVisibility()")
    filled.config_error = "home.yaml:3:1: camras: unknown key, did you mean 'cameras'?"
    browser.until("document.querySelector('#trouble').checkVisibility()")
    assert text(browser, "#trouble").endswith(f"the one before runs on: {filled.config_error}")
    assert text(browser, "#state") == "degraded"
    assert browser.run(CONTRAST) == []
    filled.config_error = None
    browser.until("!document.querySelector('#trouble').checkVisibility()")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible_wide_and_narrow_light_and_dark(
    width: int, scheme: str, watched: tuple[Filled, Chromium, str], tmp_path: Path
) -> None:
    _, browser, _ = watched
    browser.resize(width, 844, phone=width < 500)
    browser.prefer(prefers_color_scheme=scheme)
    browser.until("document.querySelectorAll('#events li time').length > 0")
    browser.run("new Promise((done) => setTimeout(done, 300))")  # colours fade
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(CONTRAST) == []
    png = browser.look()
    assert (brightness(png) > WHITE) if scheme == "light" else (brightness(png) < BLACK)


def test_the_theme_can_be_chosen_and_is_remembered(watched: tuple[Filled, Chromium, str]) -> None:
    _, browser, address = watched
    browser.press("t")
    browser.press("t")
    assert text(browser, "#theme-name") == "dark"
    browser.open(f"{address}/?again")
    assert browser.run("document.documentElement.dataset.theme") == "dark"
    assert brightness(browser.look()) < BLACK


def test_the_keyboard_reaches_everything(watched: tuple[Filled, Chromium, str]) -> None:
    _, browser, _ = watched
    reached = []
    for _ in range(8):
        browser.press("Tab")
        reached.append(browser.run("document.activeElement.id || document.activeElement.className"))
    assert reached[:7] == ["skip", "pause", "boxes", "places", "theme", "enlarge", "enlarge"]
    browser.run("document.activeElement.blur()")
    browser.press("b")
    assert not browser.run("document.querySelector('.things').checkVisibility()")
    browser.press("z")
    assert not browser.run("document.querySelector('.names').checkVisibility()")
    browser.run("document.querySelector('[data-camera=front] .enlarge').click()")
    assert not browser.run("document.querySelector('[data-camera=back]').checkVisibility()")
    browser.press("Escape")
    assert browser.run("document.querySelector('[data-camera=back]').checkVisibility()")


def test_a_pause_stops_the_pictures(watched: tuple[Filled, Chromium, str]) -> None:
    filled, browser, _ = watched
    browser.press(" ", "Space")
    assert text(browser, "#state") == "paused"
    browser.run("new Promise((done) => setTimeout(done, 2300))")  # one that was asked for may still come
    number = browser.run("document.querySelector('.stage').dataset.number")
    filled.see(person())
    browser.run("new Promise((done) => setTimeout(done, 500))")
    assert browser.run("document.querySelector('.stage').dataset.number") == number


def test_privacy_shows_boxes_on_an_empty_ground(browser: Chromium) -> None:
    with page(privacy=True) as (filled, address), Walk(filled):
        browser.open(address)
        browser.until("document.querySelector('.things b') !== null")
        assert browser.run("document.querySelector('.stage img').getAttribute('src')") is None
        assert "private" in text(browser, "#state")
        browser.open("about:blank?end")


def test_a_visitor_shows_the_token_once(browser: Chromium) -> None:
    with page(host="0.0.0.0", token="correct-horse-battery") as (filled, address), Walk(filled):
        browser.open(address)
        assert browser.run("location.pathname") == "/login"
        assert browser.run(CONTRAST) == []
        browser.run("document.querySelector('#token').value = 'correct-horse-battery'")
        browser.run("document.querySelector('form').submit()")
        browser.until("location.pathname === '/' && document.querySelector('.things b') !== null")
        browser.open("about:blank?end")


def test_the_demo_is_shown_while_it_runs(browser: Chromium, tmp_path: Path) -> None:
    """The whole machine: `edgekit run --web`, its page, its metrics, its health, its end."""
    pytest.importorskip("skimage", reason="needs the extra edgekit[demo]")
    port = free_port()
    command = [PYTHON, "-P", "-m", "edgekit", "run", "demo:", "--web", str(port), "--device-id", "pi", "-q"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = f"http://127.0.0.1:{port}"
        until(lambda: _answers(address), "the page")
        browser.resize(1280, 900)
        browser.open(address)
        browser.until("document.querySelector('.things i:not(.unsure) b') !== null")
        browser.until("/person #[0-9]+ came/.test(document.querySelector('#events').innerText)")
        assert httpx.get(f"{address}/healthz").status_code == 200
        assert 'edgekit_camera_online{camera="camera"} 1.0' in httpx.get(f"{address}/metrics").text
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, err) == (143, "")
    browser.until("document.querySelector('#state').innerText === 'connection lost'")
    browser.open("about:blank?end")


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz").status_code == 200
    except httpx.TransportError:
        return False
