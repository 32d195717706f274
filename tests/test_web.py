"""The live page as a program sees it: who may ask, what is answered, what it costs."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from boards import Filled, page, person
from brokers import free_port
from prometheus_client.parser import text_string_to_metric_families

from edgekit.config.page import WebConfig
from edgekit.config.settings import CameraConfig
from edgekit.errors import MissingExtraError, UnavailableError
from edgekit.web import board as boards
from edgekit.web import serve, server

TOKEN = "correct-horse-battery"


@pytest.fixture
def served() -> Iterator[tuple[Filled, httpx.Client]]:
    with page() as (filled, address), httpx.Client(base_url=address) as client:
        yield filled, client


@pytest.fixture
def guarded() -> Iterator[httpx.Client]:
    """A page that others can reach."""
    with page(host="0.0.0.0", token=TOKEN) as (filled, address), httpx.Client(base_url=address) as client:
        filled.see()
        yield client


def picture(client: httpx.Client, after: int = 0) -> tuple[httpx.Response, dict[str, Any]]:
    answer = client.get(f"/cameras/front/picture?after={after}")
    return answer, json.loads(answer.headers.get("X-Edgekit-Overlay", "{}"))


def test_a_picture_comes_with_what_lies_over_it(served: tuple[Filled, httpx.Client]) -> None:
    filled, client = served
    filled.tell("new", person())
    filled.see(person(), grey=90)
    answer, overlay = picture(client)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (180, 320, 3)
    assert abs(float(image.mean()) - 90) < 2
    assert overlay["size"] == [320, 180]
    assert overlay["things"] == [
        {"id": 7, "label": "person", "score": 0.87, "box": [[0.2, 0.25], [0.5, 0.95]], "missed": False,
         "unsure": False, "zones": ["drive"]}
    ]  # fmt: skip


def test_what_is_not_reported_is_told_to_be_unsure(served: tuple[Filled, httpx.Client]) -> None:
    filled, client = served
    filled.see(person())
    assert picture(client)[1]["things"][0]["unsure"]
    filled.tell("new", person())
    filled.see(person())
    assert not picture(client)[1]["things"][0]["unsure"]
    filled.tell("end", person())
    filled.see(person())
    assert picture(client)[1]["things"][0]["unsure"]


def test_the_newest_picture_wins(served: tuple[Filled, httpx.Client]) -> None:
    filled, client = served
    for grey in (20, 120, 220):
        filled.see(grey=grey)
    answer, overlay = picture(client)
    image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert abs(float(image.mean()) - 220) < 2
    thread = threading.Timer(0.05, filled.see)
    thread.start()
    later, newer = picture(client, overlay["number"])
    thread.join()
    assert later.status_code == 200
    assert newer["number"] > overlay["number"]


def test_a_picture_is_made_once_and_only_for_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def note(image: np.ndarray, width: int) -> bytes:
        made.append(width)
        return b"jpeg"

    monkeypatch.setattr(boards, "to_jpeg", note)
    with page(width=200) as (filled, address), httpx.Client(base_url=address) as client:
        for _ in range(20):
            filled.see()
        client.get("/figures")
        assert made == []
        assert [picture(client)[0].content for _ in range(3)] == [b"jpeg"] * 3
        assert made == [200]


def test_wide_pictures_are_made_smaller() -> None:
    with page(width=160) as (filled, address), httpx.Client(base_url=address) as client:
        filled.see()
        jpeg = picture(client)[0].content
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (90, 160, 3)


def test_privacy_makes_no_picture_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(image: np.ndarray, width: int) -> bytes:
        raise AssertionError("a picture was made")

    monkeypatch.setattr(boards, "to_jpeg", never)
    with page(privacy=True) as (filled, address), httpx.Client(base_url=address) as client:
        filled.see(person())
        answer, overlay = picture(client)
        assert (answer.status_code, answer.content) == (204, b"")
        assert overlay["things"][0]["label"] == "person"
        assert client.get("/figures").json()["privacy"] is True


def test_figures_tell_how_it_all_does(served: tuple[Filled, httpx.Client]) -> None:
    filled, client = served
    filled.see(person())
    filled.tell("new", person())
    figures = client.get("/figures").json()
    assert (figures["device"], figures["model"], figures["broker"]) == (
        "shed", "detect/tiny/dense_int8", "broker.lan:1883",
    )  # fmt: skip
    assert (figures["latency_ms"], figures["budget_mb"]) == ({"p50": 30.0, "p95": 45.0}, 150.0)
    assert (figures["outbox"]["pending"], figures["mqtt"]["connected"]) == (7, True)
    front, back = figures["cameras"]
    assert (front["status"], front["fps"], front["counts"], back["status"]) == (
        "online", 5.0, {"person": 1}, "offline",
    )  # fmt: skip
    assert front["zones"][0]["counts"] == {"person": 1}
    assert front["lines"] == [
        {"name": "gate", "points": [[0.0, 0.3333], [0.5, 1.0]], "in": 3, "out": 2}
    ]  # pixels have become shares
    assert front["alarms"] == [{"name": "intruder", "on": True}]
    assert [(event["label"], event["text"]) for event in figures["events"]] == [("person", "came")]


def test_another_config_is_another_page(served: tuple[Filled, httpx.Client]) -> None:
    filled, client = served
    filled.see(person())
    facts = filled.board.facts
    filled.board.change(replace(facts, cameras={"front": CameraConfig(source="demo:")}))
    figures = client.get("/figures").json()
    assert [(camera["name"], camera["zones"]) for camera in figures["cameras"]] == [("front", [])]
    assert client.get("/cameras/back/picture").status_code == 404


def test_figures_come_again_by_themselves(served: tuple[Filled, httpx.Client]) -> None:
    filled, client = served
    filled.see()
    with client.stream("GET", "/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in answer.iter_lines() if line)
        told = [json.loads(next(lines).removeprefix("data: ")) for _ in range(2)]
    assert [figures["device"] for figures in told] == ["shed", "shed"]


def test_prometheus_reads_the_metrics(served: tuple[Filled, httpx.Client]) -> None:
    filled, client = served
    filled.see()
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert {
        key: found.get(key)
        for key in (
            ("edgekit_camera_frames_total", "front"),
            ("edgekit_camera_frames_skipped_total", "front"),
            ("edgekit_camera_online", "back"),
            ("edgekit_latency_seconds", "0.95"),
            ("edgekit_outbox_pending",),
            ("edgekit_outbox_dropped_total",),
            ("edgekit_mqtt_connected",),
            ("edgekit_objects", "front", "person"),
            ("edgekit_zone_objects", "drive", "front", "person"),
            ("edgekit_line_crossings_total", "front", "gate", "in"),
            ("edgekit_alarm", "front", "intruder"),
            ("edgekit_progressing",),
        )
    } == {
        ("edgekit_camera_frames_total", "front"): 10,
        ("edgekit_camera_frames_skipped_total", "front"): 1,
        ("edgekit_camera_online", "back"): 0,
        ("edgekit_latency_seconds", "0.95"): 0.045,
        ("edgekit_outbox_pending",): 7,
        ("edgekit_outbox_dropped_total",): 2,
        ("edgekit_mqtt_connected",): 1,
        ("edgekit_objects", "front", "person"): 1,
        ("edgekit_zone_objects", "drive", "front", "person"): 1,
        ("edgekit_line_crossings_total", "front", "gate", "in"): 3,
        ("edgekit_alarm", "front", "intruder"): 1,
        ("edgekit_progressing",): 1,
    }


def test_healthz_is_200_only_while_frames_are_looked_at(served: tuple[Filled, httpx.Client]) -> None:
    filled, client = served
    assert client.get("/healthz").status_code == 503
    filled.see()
    assert client.get("/healthz").json() == {"status": "ok"}
    filled.clock_s += 3600  # nothing comes, not even the loop
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert "hangs for 3600 s" in answer.json()["reason"]
    filled.turn()  # the loop comes round, a camera that counts as online gives nothing
    assert "its last frame is 3600 s old" in client.get("/healthz").json()["reason"]
    filled.status["front"] = "offline"
    filled.turn()
    assert client.get("/healthz").json()["reason"] == "no camera is there: front offline, back offline"
    filled.status["front"] = "disabled"  # on purpose
    filled.turn()
    assert client.get("/healthz").status_code == 200


def test_another_site_cannot_ask_in_a_local_browsers_name(served: tuple[Filled, httpx.Client]) -> None:
    _, client = served
    assert client.get("/figures", headers={"Host": "evil.example:80"}).status_code == 421
    for host in ("localhost", "127.0.0.1:8088", "[::1]:8088"):
        assert client.get("/", headers={"Host": host}).status_code == 200


def test_without_the_token_others_learn_nothing(guarded: httpx.Client) -> None:
    for path in ("/figures", "/events", "/metrics", "/cameras/front/picture", "/static/page.js", "/nothing"):
        answer = guarded.get(path)
        assert (answer.status_code, TOKEN in answer.text, "shed" in answer.text) == (401, False, False), path
    assert guarded.get("/").headers["location"] == "/login"
    assert guarded.get("/healthz").status_code == 200


def test_the_token_opens_the_page(guarded: httpx.Client) -> None:
    assert guarded.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert guarded.post("/login", data={"token": "wrong"}).headers["location"] == "/login?wrong"
    assert guarded.get("/figures").status_code == 401
    answer = guarded.post("/login", data={"token": TOKEN})
    assert answer.headers["location"] == "/"
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert TOKEN not in answer.headers["set-cookie"]
    assert guarded.get("/figures").status_code == 200


def test_a_link_with_the_token_opens_the_page_and_does_not_stay(guarded: httpx.Client) -> None:
    answer = guarded.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert guarded.get("/").status_code == 200


@pytest.mark.parametrize(
    "path", ["/cameras/none/picture", "/cameras/front/picture?after=-1", "/static/..%2fboard.py", "/static/x"]
)
def test_what_is_not_there_is_not_found(path: str, served: tuple[Filled, httpx.Client]) -> None:
    assert served[1].get(path).status_code == 404


def test_the_page_loads_nothing_from_elsewhere(served: tuple[Filled, httpx.Client]) -> None:
    _, client = served
    answer = client.get("/")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    for path in ("/", "/login", "/static/page.css", "/static/page.js", "/static/icon.svg"):
        text = client.get(path).text.replace("http://www.w3.org/", "")
        assert "http:" not in text
        assert "https:" not in text


def test_it_ends_although_somebody_watches() -> None:
    with page() as (filled, address), httpx.Client(base_url=address) as client:
        filled.see()
        waiting = threading.Thread(target=lambda: _swallow(address))
        with client.stream("GET", "/events") as answer:
            next(answer.iter_lines())
            waiting.start()
            before = {thread.name for thread in threading.enumerate()}
            filled.board.close()
    waiting.join()
    assert "web" in before
    assert "web" not in {thread.name for thread in threading.enumerate()}


def _swallow(address: str) -> None:
    """A visitor who waits for a picture that does not come."""
    try:
        httpx.get(f"{address}/cameras/back/picture")
    except httpx.HTTPError:
        return


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        filled = Filled(WebConfig(port=port))
        with (
            pytest.raises(UnavailableError, match=f"no page at 127.0.0.1:{port}: Address already in use"),
            serve(filled.board),
        ):
            pass


def test_who_is_told_the_address_may_ask_at_once() -> None:
    with server._listen(WebConfig(port=free_port())) as listener, socket.socket() as visitor:
        assert visitor.connect_ex(listener.getsockname()) == 0


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with (
        pytest.raises(MissingExtraError, match=r"pip install 'edgekit\[web\]'"),
        serve(Filled(WebConfig()).board),
    ):
        pass
