"""`edgekit mqtt`: the broker, looked at from outside."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from edgekit.errors import UsageError, printable
from edgekit.verbs import add_command, add_verbs, at_least_one, seconds


def add_mqtt(commands: Any) -> None:
    verbs = add_verbs(commands, "mqtt", "The broker: can it be had, what is said, what is left there.")
    test = add_command(
        verbs, "test", _mqtt_test, "Connect as a pipeline would, publish, hear it; exit 69 if not."
    )
    watch = add_command(
        verbs, "watch", _mqtt_watch, "Print what edgekit says, but for its schemas, as it is said."
    )
    clean = add_command(
        verbs, "clean", _mqtt_clean, "Make the broker forget a device, and Home Assistant with it."
    )
    for verb in (test, watch, clean):
        verb.add_argument("config", metavar="CONFIG", nargs="?", help="a pipeline YAML, for its mqtt section")
        verb.add_argument("--mqtt", metavar="HOST[:PORT]", help="the broker, instead of or over the config's")
        others = "all" if verb is watch else "the host name"
        verb.add_argument("--device-id", help=f"the device (default: that of the config; without, {others})")
    watch.add_argument("--count", type=at_least_one, metavar="N", help="end after N messages")
    watch.add_argument("--duration", type=seconds, metavar="TIME", help="end when nothing came for so long")
    clean.add_argument("--force", action="store_true", help="although the device is online")


def _broker_config(arguments: argparse.Namespace) -> Any:
    """The config whose broker is meant; secrets of its cameras and its page need not be at hand."""
    from edgekit.config import config_of, override_config, quick_config
    from edgekit.config.document import read_document

    flags = {"mqtt": arguments.mqtt, "device_id": arguments.device_id}
    given = {key: value for key, value in flags.items() if value is not None}
    if arguments.config:
        document = read_document(arguments.config)
        document.stand_in(lambda loc: loc[0] in ("cameras", "web"))
        config = override_config(config_of(document), **given)
    else:
        config = quick_config("demo:", "none", **given)
    if config.mqtt.host is None:
        raise UsageError("which broker? give a CONFIG with mqtt.host, or --mqtt HOST")
    return config


def _mqtt_test(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from edgekit import console
    from edgekit.mqtt import session
    from edgekit.mqtt.topics import Topics

    config = _broker_config(arguments)
    report = session.examine(config.mqtt, Topics(config.mqtt.base, config.device.id))
    if arguments.json:
        console.print_json(asdict(report))
    else:
        console.print_table("", ("", ""), report.rows())
    return 0


def _mqtt_watch(arguments: argparse.Namespace) -> int:
    import itertools

    from edgekit import console
    from edgekit.mqtt import session

    config = _broker_config(arguments)
    device = config.device.id if arguments.config or arguments.device_id else "+"
    with session.Session(config.mqtt) as broker:
        broker.subscribe([f"{config.mqtt.base}/{device}/#"])
        base = f"{config.mqtt.base}/"
        told = (m for m in broker.received(arguments.duration) if not _is_schema(m.topic.removeprefix(base)))
        for message in itertools.islice(told, arguments.count):
            console.print_message(message.topic, message.payload, as_json=arguments.json)
    return 0


def _is_schema(topic: str) -> bool:
    """Whether a topic below the base is DEVICE/schema/NAME: pages of what is the same for all devices."""
    return topic.split("/")[1:2] == ["schema"]


def _mqtt_clean(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.mqtt import session
    from edgekit.mqtt.discovery import discovery_topic
    from edgekit.mqtt.topics import Topics

    config = _broker_config(arguments)
    topics = Topics(config.mqtt.base, config.device.id)
    others = [discovery_topic(config.mqtt.discovery.prefix, topics)]
    forgotten = session.clean(config.mqtt, topics, others, force=arguments.force)
    if arguments.json:
        console.print_json({"forgotten": forgotten})
    else:
        sys.stdout.write("".join(f"{printable(topic)}\n" for topic in forgotten))
    return 0
