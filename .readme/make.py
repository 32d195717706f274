"""Draw the README's pictures: `.venv/bin/python .readme/make.py` (needs the extra edgekit[demo])."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
from rich.console import Console, Group

import edgekit
from edgekit.config import quick_config
from edgekit.pipeline import CameraState
from edgekit.runtime import Limits, run
from edgekit.sources.demo import DemoScene
from edgekit.types import Detections, Image
from edgekit.view import RunView

HERE = Path(__file__).parent
MODEL = "detect/edgenano-025-320-coco10/dense_int8"
COLORS = {"person": (80, 200, 80), "cat": (60, 160, 250), "dog": (250, 120, 60)}  # BGR


def draw(image: Image, found: Detections) -> Image:
    picture = image.copy()
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        color = COLORS.get(label, (200, 200, 60))
        cv2.rectangle(picture, (x1, y1), (x2, y2), color, 2, cv2.LINE_AA)
        cv2.rectangle(picture, (x1, max(y1 - 22, 0)), (x1 + 11 * len(label) + 48, max(y1, 22)), color, -1)
        place = (x1 + 5, max(y1 - 6, 16))
        cv2.putText(
            picture, f"{label} {score:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA
        )
    return picture


def scene() -> None:
    """The demo while the astronaut and the cat are both there."""
    visits = DemoScene(0).card()["visits"]
    both = max(v["enter_s"] for v in visits[:2]) + 2.5
    image = DemoScene(0).frame(int(both * 10))
    picture = draw(image, edgekit.open(MODEL).detect(image, 0.5))
    cv2.imwrite(str(HERE / "scene.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])


class LastView(RunView):
    """Keeps what it shows."""

    last: Group

    def tick(self, cameras: Sequence[CameraState]) -> None:
        if any(camera.status == "online" for camera in cameras):
            self.last = self.picture(cameras)


def table() -> None:
    """The live table after ten seconds of the demo, as the terminal shows it."""
    terminal = {"width": 112, "file": io.StringIO(), "force_terminal": True}
    view = LastView(Console(**terminal))
    with view:
        config = quick_config("demo:", MODEL, camera="front", device_id="demo")
        run(config, Limits(duration_s=10), observer=view, on_ready=view.ready)
    page = Console(**terminal, record=True)
    page.print(view.last)
    page.save_svg(str(HERE / "table.svg"), title="edgekit run pipelines/demo.yaml")


if __name__ == "__main__":
    scene()
    table()
