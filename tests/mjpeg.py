"""A camera on loopback that sends JPEG pictures over HTTP, with the faults that its path names.

As a program it prints its port, and serves until its standard input ends.
"""

from __future__ import annotations

import contextlib
import http.server
import sys
import threading
from collections.abc import Iterator
from itertools import cycle

import cv2
import numpy as np

from edgekit.types import Image


def grey(level: int, width: int = 64, height: int = 48) -> Image:
    return np.full((height, width, 3), level, np.uint8)


class MjpegHandler(http.server.BaseHTTPRequestHandler):
    """/live never ends, /short ends after 4 pictures, /stall falls silent after 4, /404 is refused; of /torn
    each third picture is cut short, /sizes changes its size; /mixed is in turn /short, /404, /500 and, for
    each tenth who comes, /stall.
    """

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server: MjpegServer = self.server  # type: ignore[assignment]
        if self.path == "/mixed":
            self.path = next(server.faults)
        if self.path[1:].isdigit():
            self.send_error(int(self.path[1:]))
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        with contextlib.suppress(OSError):  # the client hung up
            self.send_pictures(server.stop)

    def send_pictures(self, stop: threading.Event) -> None:
        i = 0
        while not stop.wait(0.02):
            if i < 4 or self.path not in {"/short", "/stall"}:
                data = jpeg(self.path, i)
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
            elif self.path == "/short":
                return
            i += 1


ROUGH = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def jpeg(path: str, i: int) -> bytes:
    """Picture `i` of a path."""
    image = grey(i % 40 * 6)
    if path == "/torn":
        image = ROUGH
    elif path == "/sizes" and i // 8 % 2:
        image = np.hstack([grey(20, 48, 64), grey(200, 48, 64)])
    data = cv2.imencode(".jpg", image)[1].tobytes()
    return data[: len(data) // 2] if path == "/torn" and i % 3 == 2 else data


class MjpegServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), MjpegHandler)
        self.stop = threading.Event()
        self.faults = cycle(["/short", "/404", "/500"] * 3 + ["/stall"])


@contextlib.contextmanager
def serving() -> Iterator[MjpegServer]:
    """The server, in a thread."""
    server = MjpegServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


if __name__ == "__main__":
    with serving() as camera:
        sys.stdout.write(f"{camera.server_port}\n")
        sys.stdout.flush()
        sys.stdin.read()
