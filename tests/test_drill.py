"""The outage drill: a clip runs, broker and edgekit are killed (-9) again and again, and no event is lost.

`pytest -s tests/test_drill.py` prints what happened.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import paho.mqtt.client as paho
from brokers import PATIENCE_S, Mosquitto, Relay, until
from paho.mqtt.enums import CallbackAPIVersion

from edgekit.mqtt import messages

ROUNDS = 20
EVENTS, STATUS = "edgekit/pi4/front/events", "edgekit/pi4/status"
CHILD = """
import os, select, sys
sys.path[:0] = sys.argv[1:3]
from edgekit.pipeline.inbox import Camera
from edgekit.mqtt import Limits, Publisher
from edgekit.pipeline.observe import Observer
from edgekit.pipeline import Pipeline
from edgekit.config.broker import MqttConfig
from edgekit.config.settings import DetectConfig
from edgekit.sources import open_source
from scripted import bright_model

class Noted(Publisher):
    def publish_event(self, event, model):
        super().publish_event(event, model)
        os.write(1, b"%d\\n" % self.last_seq)

class Watch(Observer):
    def event(self, event):
        if select.select([sys.stdin], [], [], 0)[0]:
            pipeline.stop()

port, outbox, clip = sys.argv[3:]
mqtt = MqttConfig.model_validate({"host": "127.0.0.1", "port": int(port), "outbox": {"path": outbox}})
detect = DetectConfig.model_validate({"lost_s": 0.004, "confirm": {"frames": 1, "of": 1}})
camera = Camera("front", detect, lambda: open_source(clip, camera="front", loop=True, realtime=True))
info = {"config_hash": "0" * 64, "profile": "test", "models": []}
with Noted(mqtt, "pi4", info, limits=Limits(retry_s=(0.02, 0.1))) as publisher:
    pipeline = Pipeline([camera], bright_model(), publisher, Watch())
    pipeline.run()
    publisher.stop(60)
"""


def make_clip(path: Path) -> Path:
    """Somebody bright comes and goes, for 4 pictures each: 500 pictures a second, a second long."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 500, (64, 64))
    for i in range(500):
        image = np.full((64, 64, 3), 114, np.uint8)
        if i // 4 % 2:
            image[16:56, 20:40] = 220
        video.write(image)
    video.release()
    return path


class Edgekit:
    """A process that watches a clip, and notes the numbers of the events it has published."""

    def __init__(self, port: int, outbox: Path, clip: Path) -> None:
        python = os.environ.get("EDGEKIT_PYTHON", sys.executable)
        root = Path(messages.__file__).parents[2]
        tests = Path(__file__).parent
        command = [python, "-c", CHILD, *map(str, (tests, root, port, outbox, clip))]
        self.accepted: list[int] = []
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                if line.endswith(b"\n"):  # the last may be cut off
                    self.accepted.append(int(line))

    def wait_for_more(self, count: int) -> None:
        enough = len(self.accepted) + count
        until(lambda: len(self.accepted) >= enough, "more events")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.wait()

    def wait(self) -> None:
        self._process.wait(PATIENCE_S)
        self._reader.join()
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()


class Ear:
    """Hears all of one life of the broker, up to its last byte; by QoS 0, so that none of it is held back."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        subscribed, self._over = threading.Event(), threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe("edgekit/#", 0) and None
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_disconnect = lambda *_: self._over.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(PATIENCE_S)

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload)))

    def end(self) -> list[tuple[str, bytes]]:
        """All that was heard, once the broker is dead."""
        assert self._over.wait(PATIENCE_S)
        self._client.loop_stop()
        self._client.on_message = None
        return self.heard


class Site:
    """A broker without memory, the way to it, an edgekit and somebody who listens."""

    def __init__(self, folder: Path) -> None:
        self._broker = Mosquitto(folder)
        self._relay = Relay(self._broker.port)
        self._outbox = folder / "outbox"
        self._clip = make_clip(folder / "clip.avi")
        self.heard: list[tuple[str, bytes]] = []
        self.accepted: list[int] = []

    def start_broker(self) -> None:
        self._broker.start()
        self.ear = Ear(self._broker.port)  # before edgekit finds its way
        self._relay.open()

    def kill_broker(self) -> None:
        self._broker.kill()
        self.heard += self.ear.end()
        self._relay.cut()

    def start_edgekit(self) -> None:
        self.edgekit = Edgekit(self._relay.port, self._outbox, self._clip)

    def kill_edgekit(self) -> None:
        self.edgekit.kill()
        self.accepted += self.edgekit.accepted

    def stop(self) -> None:
        self.edgekit.stop()
        self.accepted += self.edgekit.accepted
        until(lambda: (STATUS, b"stopped") in self.ear.heard, "a clean end")
        self.kill_broker()


def test_no_event_is_lost_when_broker_and_edgekit_are_killed(tmp_path: Path) -> None:
    chance = random.Random(20)
    site = Site(tmp_path)
    site.start_broker()
    site.start_edgekit()
    orders: list[str] = []
    for _ in range(ROUNDS):
        site.edgekit.wait_for_more(chance.randint(1, 40))
        kills, starts = [site.kill_broker, site.kill_edgekit], [site.start_broker, site.start_edgekit]
        chance.shuffle(kills)
        chance.shuffle(starts)
        kills[0]()
        if kills[0] == site.kill_broker:
            site.edgekit.wait_for_more(chance.randint(1, 20))
        kills[1]()
        starts[0]()
        if starts[0] == site.start_edgekit:
            site.edgekit.wait_for_more(chance.randint(1, 20))
        starts[1]()
        orders.append(f"{kills[0].__name__}, {starts[0].__name__}")
    site.edgekit.wait_for_more(1)
    site.stop()
    told = check(site.heard, site.accepted)
    counted = [f"{orders.count(order)} times {order} first" for order in sorted(set(orders))]
    print(f"\n{ROUNDS} rounds, {told}", *counted, sep="\n")  # noqa: T201
    assert len(set(orders)) == 4  # who dies first and who comes back first, in each combination


def check(heard: list[tuple[str, bytes]], accepted: list[int]) -> str:
    """Nothing lost, nothing out of order; what happened, in words."""
    events = [json.loads(payload) for topic, payload in heard if topic == EVENTS]
    seqs = [event["seq"] for event in events]
    assert accepted == sorted(set(accepted)), "a number was given twice"
    assert set(accepted) <= set(seqs), "an event was lost"
    assert sorted(set(seqs)) == list(range(1, max(seqs) + 1)), "a number is missing"
    assert "edgekit/pi4/gap" not in {topic for topic, _ in heard}
    seen = set[int]()
    for event, before in zip(events, itertools.accumulate(seqs, max, initial=0), strict=False):
        if event["seq"] in seen:
            assert event["replayed"], "a duplicate that does not say so"
        else:
            assert event["seq"] == before + 1, "out of order"
        seen.add(event["seq"])
    assert len({event["boot_id"] for event in events}) == ROUNDS + 1
    return f"{len(seen)} events, numbers 1 to {max(seqs)}; {len(seqs) - len(seen)} heard twice, and marked"
