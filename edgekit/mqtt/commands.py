"""What subscribers may ask for: to switch a camera's detection, and `request/<verb>` -> `response/<verb>`.

A retained command is not obeyed: it would be again at every connect. What is no command is answered, or
ignored where there is nobody to answer; it never harms. The broker's thread obeys, so that all is done in the
order in which it was asked; only what is slow has a thread of its own, for the broker not to wait.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from edgekit.config import mask_url
from edgekit.errors import EdgekitError
from edgekit.mqtt.link import Received
from edgekit.mqtt.messages import Message, encode, response_payload

_log = logging.getLogger("edgekit.mqtt")
_MAX_BYTES = 65_536
_SWITCH = {"ON": True, "OFF": False}

Request: TypeAlias = Mapping[str, Any]
Verb: TypeAlias = Callable[[Request], Mapping[str, Any]]  # may raise EdgekitError or ValueError


@dataclass(frozen=True, slots=True)
class Commands:
    """What can be asked for. `detect` switches a camera and returns False for one that is not there.

    Of the verbs in `slow` one at a time is done, from a thread of its own.
    """

    detect: Callable[[str, bool], bool]
    verbs: Mapping[str, Verb] = field(default_factory=dict)
    slow: frozenset[str] = frozenset()


class Clerk:
    """Reads commands below `place`, has them done and says what came of them: `answer` sends it."""

    def __init__(self, place: str, commands: Commands, answer: Callable[[Message], None]) -> None:
        self.topics = [f"{place}/+/detect/set", *([f"{place}/request/+"] if commands.verbs else [])]
        self._place, self._commands, self._answer = place, commands, answer
        self._busy = threading.Lock()  # with what is slow

    def hear(self, message: Received) -> bool:
        """Deal with a message; False when it is no command."""
        levels = message.topic.removeprefix(f"{self._place}/").split("/")
        is_request = levels[0] == "request" and len(levels) == 2
        is_switch = levels[1:] == ["detect", "set"]
        if not message.topic.startswith(f"{self._place}/") or not (is_request or is_switch):
            return False
        if message.retained:
            _log.warning(
                "%s is retained: not obeyed; publish commands without the retain flag", message.topic
            )
        elif is_switch:
            self._switch(levels[0], message.payload)
        else:
            self._take(levels[1], message.payload)
        return True

    def tick(self) -> None:
        """Nothing here becomes due."""

    def _switch(self, camera: str, payload: bytes) -> None:
        on = _SWITCH.get(payload[:8].decode("ascii", "replace").strip().upper())
        if on is None or not self._commands.detect(camera, on):
            what = "expected ON or OFF" if on is None else "no such camera"
            _log.warning("%s/%s/detect/set: %s", self._place, camera, what)

    def _take(self, verb: str, payload: bytes) -> None:
        do = self._commands.verbs.get(verb)
        if do is None:
            there = ", ".join(sorted(self._commands.verbs))
            self._say(verb, _result(_refuse(f"no request {verb[:64]!r}, there are {there}"), payload))
        elif verb not in self._commands.slow:
            self._say(verb, _result(do, payload))
        elif self._busy.acquire(blocking=False):
            threading.Thread(target=self._serve, args=(verb, do, payload), name=verb, daemon=True).start()
        else:
            self._say(verb, _result(_refuse(f"{verb} is under way: ask again when it is done"), payload))

    def _serve(self, verb: str, do: Verb, payload: bytes) -> None:
        result = _result(do, payload)
        self._busy.release()  # who hears the answer may ask again
        self._say(verb, result)

    def _say(self, verb: str, result: Mapping[str, Any]) -> None:
        self._answer(Message(f"{self._place}/response/{verb}", encode(result)))


def _result(do: Verb, payload: bytes) -> Mapping[str, Any]:
    """What comes of a request."""
    request: Request = {}
    try:
        request = _parse(payload)
        return response_payload(request, data=do(request))
    except (EdgekitError, ValueError) as error:
        return response_payload(request, error=mask_url(str(error)))
    except Exception as error:
        _log.exception("a request failed in a way that edgekit does not know")
        return response_payload(request, error=f"{mask_url(repr(error))}: the log has more")


def _refuse(why: str) -> Verb:
    def refuse(_: Request) -> NoReturn:
        raise ValueError(why)

    return refuse


def _parse(payload: bytes) -> Request:
    """Nothing at all is a request as well."""
    if len(payload) > _MAX_BYTES:
        raise ValueError(f"a request has at most {_MAX_BYTES} bytes")
    try:
        request = json.loads(payload or b"{}")
    except (ValueError, RecursionError):
        raise ValueError("expected a JSON object") from None
    if not isinstance(request, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004  (it is the value of a message)
    return request
