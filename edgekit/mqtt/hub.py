"""The process of the embedded broker: amqtt, on a socket that `broker` has bound, until that lets go.

amqtt (0.12 read and measured) differs from what edgekit promises in four places, mended here:
- a CONNECT of MQTT 5 that carries a will is misread, and never answered; nor is what is no MQTT at all;
- whoever connects is sent the retained messages of everybody's subscriptions, also of none of its own;
- keep-alive is never enforced: a client that hangs keeps its session, and its will is never said;
- a subscriber that stops reading makes the broker's memory grow without end.

It speaks MQTT 3.1.1 only, and says so to a client of MQTT 5 in its CONNACK. Retained messages live in memory
and end with it; a session ends when its client disconnects.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from functools import partial
from typing import Any

import amqtt.broker
from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler

_BACKLOG_BYTES = 4 * 2**20  # that much may wait for one subscriber before it is cut off
_LAST_WORDS_S = 0.5  # for what was published right before the end
_PROTOCOL_NAME, _PROTOCOL_LEVEL = b"\0\4MQTT", 4
_UNACCEPTABLE_PROTOCOL = b"\x20\2\0\1"  # a CONNACK
_ANONYMOUS = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


class Reader(StreamReaderAdapter):  # type: ignore[misc]  # amqtt is not typed
    """Reads what was looked at already, then the rest."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self._head = head

    async def read(self, n: int = -1) -> bytes:
        if not self._head:
            return bytes(await super().read(n))
        data, self._head = self._head[:n], self._head[n:]
        return data if len(data) == n else data + await self.read(n - len(data))


class Writer(StreamWriterAdapter):  # type: ignore[misc]
    """Never makes the broker wait for one client; cuts off the one that does not read."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        super().__init__(writer)
        self._transport = writer.transport

    @property
    def backlog_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        if self.backlog_bytes > _BACKLOG_BYTES:
            self.abort()
        super().write(data)

    async def drain(self) -> None:
        """Nothing to wait for: the backlog is bounded by `write`."""

    def abort(self) -> None:
        self._transport.abort()


class Handler(BrokerProtocolHandler):  # type: ignore[misc]
    """One client's side of the protocol."""

    def handle_read_timeout(self) -> None:
        self.writer.abort()


class Hub(amqtt.broker.Broker):  # type: ignore[misc]
    """The broker behind the listening socket `listener`; everybody may connect, publish and subscribe."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(BrokerConfig(listeners={"default": ListenerConfig()}, plugins=dict(_ANONYMOUS)))
        self._listener = listener
        self._writers: set[Writer] = set()

    @property
    def busy(self) -> bool:
        """Whether something published is still on its way to a subscriber."""
        return (
            not self._broadcast_queue.empty()
            or any(session.delivered_message_queue.qsize() for session, _ in self.sessions.values())
            or any(writer.backlog_bytes for writer in self._writers)
        )

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        adapter = Writer(writer)
        self._writers.add(adapter)
        try:
            head = await _read_head(reader)
            if head[-7:-1] == _PROTOCOL_NAME and head[-1] > _PROTOCOL_LEVEL:
                writer.write(_UNACCEPTABLE_PROTOCOL)
            else:
                await self._client_connected(listener_name, Reader(head, reader), adapter)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # gone before it said anything
        finally:
            self._writers.discard(adapter)
            writer.close()

    async def _create_server_instance(self, listener_name: str, *_: Any) -> asyncio.Server:
        connected = partial(self.stream_connected, listener_name=listener_name)
        return await asyncio.start_server(connected, sock=self._listener)

    async def _initialize_client_session(self, *connection: Any) -> Any:
        handler, session = await super()._initialize_client_session(*connection)
        session.keep_alive = -(
            -session.keep_alive * 3 // 2
        )  # a client has one and a half times [MQTT-3.1.2-24]
        return handler, session

    async def _publish_retained_messages_for_subscription(self, subscription: Any, session: Any) -> None:
        subscribers = self.subscriptions.get(subscription[0], [])
        if any(subscriber.client_id == session.client_id for subscriber, _ in subscribers):
            await super()._publish_retained_messages_for_subscription(subscription, session)


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    """A CONNECT up to its protocol level: type, length in 1 to 4 bytes, `0 4 M Q T T`, level."""
    head = await reader.readexactly(2)
    while head[-1] & 0x80 and len(head) < 5:
        head += await reader.readexactly(1)
    return head + await reader.readexactly(7)


async def serve(listener: socket.socket) -> None:
    """Serve until standard input ends, which it does when the parent closes it or dies, however it dies."""
    hub = Hub(listener)
    await hub.start()
    let_go = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), let_go.set)
    os.write(sys.stdout.fileno(), b"ready\n")
    parent = os.getppid()
    while not let_go.is_set() and os.getppid() == parent:  # a fork of the parent may still hold the pipe
        with_timeout = asyncio.wait_for(let_go.wait(), timeout=1)
        await asyncio.gather(with_timeout, return_exceptions=True)
    await finish(hub)


async def finish(hub: Any) -> None:
    """Wait, not for long, until `hub` is no longer `busy`."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + _LAST_WORDS_S
    await asyncio.sleep(0.02)  # whatever is between two queues gets into one
    while hub.busy and loop.time() < until_s:  # noqa: ASYNC110  (amqtt has no event for it)
        await asyncio.sleep(0.01)


def main() -> None:
    """Run as `python -m edgekit.mqtt.hub FD`; FD is the listening socket."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            number, signal.SIG_IGN
        )  # the parent has a last word to publish; it lets go when it is out
    logging.disable(logging.CRITICAL)
    amqtt.broker.BrokerProtocolHandler = Handler
    asyncio.run(_serve_and_leave(socket.socket(fileno=int(sys.argv[1]))))


async def _serve_and_leave(listener: socket.socket) -> None:
    await serve(listener)
    os._exit(0)  # amqtt's own shutdown waits for every client


if __name__ == "__main__":
    main()
