"""A real RTSP server on loopback, GStreamer's, in a process of its own: to be killed, stopped and started."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from brokers import free_port

PYTHON = Path("/usr/bin/python3")  # the system's, which has Debian's bindings
PACKAGES = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
SIZE, FPS, KEY_FRAMES = (320, 240), 25, 10  # a key frame is each tenth
IMPORTS = """
import sys
import gi
for name, version in {"Gst": "1.0", "GstRtsp": "1.0", "GstRtspServer": "1.0"}.items():
    gi.require_version(name, version)
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer
Gst.init(None)
missing = [name for name in ("videotestsrc", "x264enc", "rtph264pay") if not Gst.ElementFactory.find(name)]
if missing:
    sys.exit(f"GStreamer lacks {missing}")
"""
SERVER = (
    IMPORTS
    + f"""
port, login, lossy = sys.argv[1:]
factory = GstRtspServer.RTSPMediaFactory(shared=True)
pay = "rtph264pay mtu=400 ! identity name=pay0 drop-probability=0.03" if lossy else "rtph264pay name=pay0"
factory.set_launch(
    "( videotestsrc is-live=true pattern=ball "
    "! video/x-raw,width={SIZE[0]},height={SIZE[1]},framerate={FPS}/1 "
    "! x264enc tune=zerolatency key-int-max={KEY_FRAMES} threads=1 ! " + pay + " )"
)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
server.get_mount_points().add_factory("/stream", factory)
if login:
    user, password = login.split(":")
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", user)
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.add_digest(user, password, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for right in ("access", "construct"):
        permissions.add_permission_for_role(user, "media.factory." + right, True)
    factory.set_permissions(permissions)
if not server.attach(None):
    sys.exit("the port is taken")
print("ready", flush=True)
GLib.MainLoop().run()
"""
)


class RtspServer:
    """A ball that flies about, as H.264 at `rtsp://127.0.0.1:port/stream`.

    `login` is USER:PASSWORD, or empty for everybody; `lossy` loses some packets on their way.
    """

    def __init__(self, login: str = "", *, lossy: bool = False) -> None:
        if not _installed():
            pytest.skip(f"GStreamer's RTSP server is not installed: apt-get install {PACKAGES}")
        self.port = free_port()
        self._arguments = [str(self.port), login, "lossy" if lossy else ""]
        self._process: subprocess.Popen[str] | None = None

    def url(self, login: str = "", path: str = "stream") -> str:
        return f"rtsp://{login}{'@' if login else ''}127.0.0.1:{self.port}/{path}"

    def start(self) -> Self:
        command = [str(PYTHON), "-c", SERVER, *self._arguments]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def kill(self) -> None:
        """As when somebody pulls the plug, but that the kernel still hangs up."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def freeze(self) -> None:
        """The connection stays, and nothing comes any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def _installed() -> bool:
    if not PYTHON.exists():
        return False
    tried = subprocess.run([PYTHON, "-c", IMPORTS], check=False, capture_output=True)
    return tried.returncode == 0
