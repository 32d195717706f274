"""Where each message of a device goes."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

_ID = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Topics:
    """The topic tree of one device: `<base>/<device>/...`, where `base` may have levels (`home/edgekit`).

    Raises ValueError for a name that is not 1 to 64 of `a-z 0-9 _ -`: wildcards and `/` cannot slip in.
    """

    base: str
    device: str

    def __post_init__(self) -> None:
        for level in self.base.split("/"):
            check_id("mqtt.base", level)
        check_id("device.id", self.device)

    @property
    def status(self) -> str:
        return f"{self.base}/{self.device}/status"

    @property
    def info(self) -> str:
        return f"{self.base}/{self.device}/info"

    @property
    def health(self) -> str:
        return f"{self.base}/{self.device}/health"

    @property
    def gap(self) -> str:
        return f"{self.base}/{self.device}/gap"

    def schema(self, name: str) -> str:
        return f"{self.base}/{self.device}/schema/{name}"

    def camera_status(self, camera: str) -> str:
        return self._of_camera(camera, "status")

    def events(self, camera: str) -> str:
        return self._of_camera(camera, "events")

    def count(self, camera: str, label: str) -> str:
        """Where the number of things of a kind goes; `label` "all" is their sum."""
        return self._of_camera(camera, f"count/{topic_label(label)}")

    @property
    def place(self) -> str:
        """Everything of this device is below."""
        return f"{self.base}/{self.device}"

    def motion(self, camera: str) -> str:
        return self._of_camera(camera, "motion")

    def zone(self, camera: str, zone: str, label: str) -> str:
        return self._of_camera(camera, f"zone/{check_id('zone', zone)}/{topic_label(label)}")

    def line(self, camera: str, line: str) -> str:
        return self._of_camera(camera, f"line/{check_id('line', line)}")

    def alarm(self, camera: str, alarm: str) -> str:
        return self._of_camera(camera, f"alarm/{check_id('alarm', alarm)}")

    def alarm_event(self, camera: str, alarm: str) -> str:
        return f"{self.alarm(camera, alarm)}/event"

    def tamper(self, camera: str) -> str:
        return self._of_camera(camera, "tamper")

    def tamper_attributes(self, camera: str) -> str:
        return f"{self.tamper(camera)}/attributes"

    def snapshot(self, camera: str, label: str) -> str:
        return self._of_camera(camera, f"snapshot/{topic_label(label)}")

    def detect_state(self, camera: str) -> str:
        return self._of_camera(camera, "detect/state")

    def detect_set(self, camera: str) -> str:
        return f"{self.base}/{self.device}/{camera}/detect/set"

    def _of_camera(self, camera: str, what: str) -> str:
        return f"{self.base}/{self.device}/{check_id('camera', camera)}/{what}"


def check_id(what: str, text: str) -> str:
    """`text` itself when it can be one level of a topic; else ValueError that names `what`."""
    if not _ID.fullmatch(text):
        raise ValueError(f"{what} {text!r}: use 1 to 64 of a-z 0-9 _ -")
    return text


def topic_label(label: str) -> str:
    """A class name as one topic level: "Traffic light" -> "traffic_light". A sum keeps others apart."""
    level = re.sub(r"[^a-z0-9_-]+", "_", label.lower())
    if not label.isascii():
        level = f"{level[:55]}-{zlib.crc32(label.encode()):08x}"
    return check_id("label", level[:64])
