"""Addresses of streams: checked, and shown without what is secret in them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from edgekit.errors import UsageError

STREAMS = ("rtsp", "rtsps", "http", "https")
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


def shown(target: str) -> str:
    """`target` as it may stand in a message or a log: without user, password and query.

    People write passwords with `/`, `?`, `#` and `@` as they are, which no parser of addresses can part from
    the rest: in doubt less is shown.
    """
    if not re.match(r"[A-Za-z][\w+.-]*://", target):
        return re.sub(r"^[^/@]*:.*@", "", target)
    scheme, _, rest = target.partition("://")
    head, *tail = re.split(r"[?#]", rest, maxsplit=1)
    if ":" in head and any("@" in part for part in tail):
        return f"{scheme}://…"
    authority = head.partition("/")[0]
    return f"{scheme}://{head.rpartition('@')[2] if ':' in authority or '@' in authority else head}"


def check_address(text: str) -> str:
    """`text` with its scheme in small letters; UsageError when it is no address of a stream."""
    scheme, _, rest = text.partition(":")
    address = f"{scheme.lower()}:{rest}"
    example = f"{scheme.lower()}://user:password@host/path"
    if not rest.startswith("//"):
        raise UsageError(f"source {scheme.lower()}:…: expected {example}")
    try:
        url = urlsplit(address)
        good = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        good = False
    if not good:
        raise UsageError(
            f"source {shown(address)}: its host or port cannot be read; expected {example}, "
            "with / ? # @ : and % in user and password as %2F %3F %23 %40 %3A %25"
        )
    return address
