"""YAML text as a tree of nodes that know their line and column: `compose(text, name) -> Node`.

PyYAML only scans. What a file may cost is decided here: one document, 32 levels, 1000 aliases, 20,000
nodes with every alias written out; a key stands once and is always text, so a camera may be called `on`,
`no` or `1`. Whatever breaks this is a ConfigError, in bounded time and memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from edgekit.errors import ConfigError

MAX_DEPTH = 32
MAX_NODES = 20_000
MAX_ALIASES = 1000

NULL = frozenset({"", "~", "null", "Null", "NULL"})
_STR_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Line and column, both from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Node:
    """One value of the file: a scalar (`text`), a list (`items`) or a mapping (`entries`).

    `size` counts this node and all below it, an alias as often as it is used. `keys` says where the
    key of each entry stands.
    """

    position: Position
    text: str | None = None
    plain: bool = False
    tag: str | None = None
    items: list[Node] | None = None
    entries: dict[str, Node] | None = None
    keys: dict[str, Position] = field(default_factory=dict)
    size: int = 1

    def child(self, step: str | int) -> Node | None:
        """The value under a key or an index, or None."""
        if self.entries is not None and isinstance(step, str):
            return self.entries.get(step)
        if self.items is not None and isinstance(step, int) and 0 <= step < len(self.items):
            return self.items[step]
        return None

    def scalars(self) -> Iterator[Node]:
        """The values below it, or itself."""
        children = [*(self.entries or {}).values(), *(self.items or [])]
        if self.entries is None and self.items is None:
            yield self
        for each in children:
            yield from each.scalars()


def compose(text: str, name: str) -> Node:
    """The root mapping of a YAML text; `name` stands in messages. Raises ConfigError."""
    return _Composer(name).compose(text)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet; `key` is set while a mapping waits for the value."""

    node: Node
    anchor: str | None
    key: Node | None = None
    merged: list[Node] = field(default_factory=list)


class _Composer:
    """Builds nodes from PyYAML's events with a stack of its own: no depth of nesting exhausts Python's."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: Node | None = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.aliases = 0
        self.nodes = 0

    def compose(self, text: str) -> Node:
        documents = 0
        for event in self._events(text):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.error(_mark(event), "a second document starts here, expected only one")
            self.take(event)
        if self.root is None or (self.root.text in NULL and self.root.plain):
            raise ConfigError(f"{self.name}:1:1: the file is empty, expected keys and values")
        if self.root.entries is None:
            raise self.error(self.root.position, "expected keys and values (key: value)")
        return self.root

    def _events(self, text: str) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
            raise self.error(position, f"not valid YAML: {_plainly(error)}") from None
        except (yaml.YAMLError, ValueError, OverflowError):
            raise ConfigError(
                f"{self.name}:1:1: not valid YAML: a number or an escape in it is absurd"
            ) from None

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            node = Node(_mark(event), text=event.value, plain=event.implicit[0], tag=self._tag(event))
            self.place(node, event.anchor)
        elif isinstance(event, yaml.SequenceStartEvent):
            self.open(Node(_mark(event), items=[]), event)
        elif isinstance(event, yaml.MappingStartEvent):
            self.open(Node(_mark(event), entries={}), event)
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            self.close()
        elif isinstance(event, yaml.AliasEvent):
            self.place(self._aliased(event), None)

    def _tag(self, event: yaml.ScalarEvent) -> str | None:
        if event.tag is None or event.tag in _STR_TAGS:
            return None
        if event.tag not in {"!file", "!credential"}:
            shown = event.tag.replace("tag:yaml.org,2002:", "!!")[:40]
            raise self.error(_mark(event), f"unknown tag {shown!a}, expected !file or !credential")
        return str(event.tag)

    def _aliased(self, event: yaml.AliasEvent) -> Node:
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise self.error(_mark(event), f"too many aliases, expected at most {MAX_ALIASES}")
        name = event.anchor or ""
        node = self.anchors.get(name)
        if node is None:
            raise self.error(_mark(event), f"alias *{name[:40]} stands before the end of its anchor")
        return node

    def open(self, node: Node, event: yaml.SequenceStartEvent | yaml.MappingStartEvent) -> None:
        if event.tag is not None:
            raise self.error(_mark(event), "expected no tag on a list or mapping")
        if len(self.stack) >= MAX_DEPTH:
            raise self.error(_mark(event), f"nested too deep, expected at most {MAX_DEPTH} levels")
        self.stack.append(_Open(node, event.anchor))

    def close(self) -> None:
        top = self.stack.pop()
        for source in top.merged:
            for key, value in (source.entries or {}).items():
                if top.node.entries is not None and key not in top.node.entries:
                    top.node.entries[key] = value
                    top.node.keys[key] = source.keys[key]
        self.place(top.node, top.anchor)

    def place(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        top.node.size += node.size
        self.nodes = max(self.nodes + 1, top.node.size)
        if self.nodes > MAX_NODES:
            raise self.error(node.position, f"too many values, expected at most {MAX_NODES}")
        if top.node.items is not None:
            top.node.items.append(node)
        elif top.key is None:
            top.key = node
        else:
            self.add(top, top.key, node)
            top.key = None

    def add(self, top: _Open, key: Node, value: Node) -> None:
        if key.text is None or top.node.entries is None:
            raise self.error(key.position, "expected a name before the colon, not a list or mapping")
        if key.text == "<<" and key.plain:
            self.merge(top, value)
        elif key.text in top.node.entries:
            first = top.node.keys[key.text].line
            raise self.error(key.position, f"key {key.text[:40]!a} stands here twice, first on line {first}")
        else:
            top.node.entries[key.text] = value
            top.node.keys[key.text] = key.position

    def merge(self, top: _Open, value: Node) -> None:
        sources = [value] if value.items is None else value.items
        if any(source.entries is None for source in sources):
            raise self.error(value.position, "expected an alias of a mapping after <<")
        top.merged += sources

    def error(self, position: Position, text: str) -> ConfigError:
        return ConfigError(f"{self.name}:{position.line}:{position.column}: {text}")


def _mark(event: yaml.Event) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)


def _plainly(error: yaml.MarkedYAMLError) -> str:
    problem = " ".join(str(error.problem or error.context).split())
    if "'\\t'" in problem:
        return "a tab stands where only spaces may indent"
    if problem == "mapping values are not allowed here":
        return "a colon stands where no key can be, put the text into quotes"
    if problem.endswith("but got '{'"):
        return problem + " (inside { } or [ ] put ${NAME} into quotes)"
    return problem
