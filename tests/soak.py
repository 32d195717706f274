"""Run a pipeline for very many frames, and print what the process holds: it should stay flat.

python tests/soak.py --frames 100000

Two cameras with zones, lines, alarms and a motion gate, somebody who walks by again and again, a model that
sees what is bright, a real broker, and an outbox on disk.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from brokers import Mosquitto
from flat import Holding, measure
from scripted import SIZE, bright_model

from edgekit.config.broker import MqttConfig
from edgekit.config.scene import SceneConfig
from edgekit.config.settings import DetectConfig
from edgekit.mqtt import Publisher
from edgekit.pipeline import Pipeline
from edgekit.pipeline.inbox import Camera
from edgekit.types import Frame, Image

FPS, ROUND = 10.0, 60  # pictures until all starts over
Tell = Callable[[int, Holding], None]


def picture(i: int) -> Image:
    """Somebody bright crosses in the first 24 pictures of a round."""
    image = np.full((SIZE, SIZE, 3), 114, np.uint8)
    x = 2 * (i % ROUND)
    image[20:56, x : x + 14] = 220
    return image


class Film:
    """`count` pictures of the walk, each of which is taken."""

    live, lost, fps, skipped, corrupt = False, False, FPS, 0, 0

    def __init__(self, camera: str, count: int, seen: Callable[[], None]) -> None:
        self._camera, self._count, self._seen = camera, count, seen

    def frames(self) -> Iterator[Frame]:
        pictures = [picture(i) for i in range(ROUND)]
        start_s = time.time()
        for i in range(self._count):
            self._seen()
            yield Frame(pictures[i % ROUND], self._camera, i, start_s + i / FPS, i / FPS)

    def close(self) -> None:
        pass


def scene() -> SceneConfig:
    return SceneConfig.model_validate(
        {
            "zones": {"path": {"points": [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]}},
            "lines": {"gate": {"points": [[0.5, 0], [0.5, 1]]}},
            "alarms": {"guest": {"when": "person in path"}},
        }
    )


def run(frames: int, every: int, port: int, folder: Path, tell: Tell) -> Publisher:
    """Two cameras, `frames` of both together; `tell` what is held after each `every` of them."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 2
        if done % every == 0:
            tell(done, measure())

    cameras = [
        Camera("front", DetectConfig(), lambda: Film("front", frames // 2, count), scene()),
        Camera("gated", DetectConfig(motion={}), lambda: Film("gated", frames // 2, lambda: None), scene()),  # type: ignore[arg-type]
    ]
    mqtt = MqttConfig.model_validate(
        {"host": "127.0.0.1", "port": port, "outbox": {"path": folder / "outbox"}}
    )
    publisher = Publisher(mqtt, "soak", {"config_hash": "0" * 64, "profile": "test", "models": []})
    with publisher:
        Pipeline(cameras, bright_model(), publisher).run()
        publisher.stop(60)
    return publisher


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a pipeline for very many frames.")
    parser.add_argument("--frames", type=int, default=100_000)
    frames = parser.parse_args().frames
    started_s = time.monotonic()

    def tell(done: int, held: Holding) -> None:
        sys.stdout.write(f"{done:7} {held}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder)).start()
        publisher = run(frames, max(1, frames // 10), broker.port, Path(folder), tell)
        broker.kill()
    sys.stdout.write(
        f"{frames} frames in {time.monotonic() - started_s:.0f} s, {publisher.last_seq} events, "
        f"{publisher.sent} messages, {publisher.undelivered} undelivered\n"
    )


if __name__ == "__main__":
    main()
