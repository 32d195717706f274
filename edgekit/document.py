"""A YAML text as plain data that remembers where everything stands: `Document`.

PyYAML only scans; what a file may cost and mean is decided here:

* one document, UTF-8, at most 1 MB, 32 levels and 20,000 nodes with every alias written out;
* a key stands once, keys are always text (a camera may be called `on`, `no` or `1`);
* scalars follow YAML 1.2: `true`, `false`, `null`, decimal numbers; everything else is text;
* `${NAME}`, `${NAME:-default}`, `!file path`, `!credential name` are filled in after parsing, so that a
  value can never become structure. What comes from there is never shown in a message.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml

from edgekit.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 20_000
MAX_ALIASES = 1000
MAX_SECRET_BYTES = 65_536

Loc: TypeAlias = tuple[str | int, ...]
Scalar: TypeAlias = str | int | float | bool | None

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_VARIABLE = re.compile(r"\$?\$\{(?P<body>[^}]*)(?P<end>\}?)")
_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>.*))?", re.DOTALL)
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


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at a place; `loc` is the path of keys to it."""

    position: Position
    loc: Loc
    text: str


class _BadValueError(Exception):
    """A scalar that cannot be filled in; the message says what was expected."""


@dataclass
class Document:
    """A parsed file. `data` is dicts with str keys, lists and scalars; `problems` are the values that could
    not be filled in (their place in `data` holds an empty text). `hidden` are the paths of values that came
    from the environment, a file or a credential; `secret` those of the latter two.
    """

    name: str
    base_dir: Path
    root: Node
    data: object = None
    problems: list[Problem] = field(default_factory=list)
    hidden: set[Loc] = field(default_factory=set)
    secret: set[Loc] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.data = self._value(self.root, ())

    def find(self, loc: Loc) -> Node | None:
        """The node at a path of keys and indices, or None where the file has none."""
        node: Node | None = self.root
        for step in loc:
            node = node.child(step) if node is not None else None
        return node

    def position(self, loc: Loc, *, of_key: bool = False) -> Position:
        """Where the value (or its key) at `loc` stands; the nearest mapping above it where it is missing."""
        parent = self.find(loc[:-1]) if loc else None
        if of_key and parent is not None and loc[-1] in parent.keys:
            return parent.keys[str(loc[-1])]
        while (node := self.find(loc)) is None:
            loc = loc[:-1]
        return node.position

    def _value(self, node: Node, loc: Loc) -> object:
        if node.entries is not None:
            return {key: self._value(child, (*loc, key)) for key, child in node.entries.items()}
        if node.items is not None:
            return [self._value(child, (*loc, index)) for index, child in enumerate(node.items)]
        try:
            return self._scalar(node, loc)
        except _BadValueError as error:
            self.problems.append(Problem(node.position, loc, str(error)))
            return ""

    def _scalar(self, node: Node, loc: Loc) -> Scalar:
        text = node.text or ""
        filled = fill(text)
        if "${" in text:
            self.hidden.add(loc)
        if node.tag in {"!file", "!credential"}:
            self.hidden.add(loc)
            self.secret.add(loc)
            path = self.base_dir / Path(filled).expanduser() if node.tag == "!file" else _credential(filled)
            return _read_secret(path)
        return _resolve(text) if node.plain and filled == text else _checked(filled)


def read_document(path: str | Path) -> Document:
    """Read a YAML file. Raises ConfigError (one line) for anything that is not one sane YAML document."""
    path = Path(path)
    return parse_document(_decode(_read_bytes(path), str(path)), str(path), path.absolute().parent)


def parse_document(text: str, name: str, base_dir: Path) -> Document:
    """Parse YAML text; `name` stands in messages, `!file` paths are relative to `base_dir`."""
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{name}: a configuration has at most {MAX_BYTES // 1000} kB")
    text = text.removeprefix("\ufeff")
    if found := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line, column = text.count("\n", 0, found.start()) + 1, found.start() - text.rfind("\n", 0, found.start())
        raise ConfigError(f"{name}:{line}:{column}: not text: control character {found.group()!a}")
    return Document(name, base_dir, _Composer(name).compose(text))


def fill(text: str) -> str:
    """Put the environment's values for `${NAME}` and `${NAME:-default}`; `$${` is a literal `${`.

    Raises _BadValueError naming the variable, never its value, when it is unset or empty.
    """
    return _VARIABLE.sub(_variable, text)


def _variable(found: re.Match[str]) -> str:
    if found.group().startswith("$$"):
        return found.group()[1:]
    named = _NAME.fullmatch(found["body"])
    if not found["end"] or not named:
        raise _BadValueError("expected ${NAME} or ${NAME:-default} (write $${ for a literal ${)")
    value = os.environ.get(named["name"]) or named["default"]
    if not value:
        state = "empty" if named["name"] in os.environ else "not set"
        raise _BadValueError(f"environment variable {named['name']} is {state}")
    return value


def _credential(name: str) -> Path:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise _BadValueError(
            f"no systemd credentials here ($CREDENTIALS_DIRECTORY is not set), expected LoadCredential={name}:PATH"
            " in the unit"
        )
    if not name or "/" in name or name in {".", ".."}:
        raise _BadValueError("expected the plain name of a systemd credential")
    return Path(folder) / name


def _read_secret(path: Path) -> str:
    try:
        if not path.is_file():
            raise _BadValueError(f"{path} is no file" if path.exists() else f"{path} does not exist")
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such path"
        raise _BadValueError(f"cannot read {path}: {reason}") from None
    if len(raw) > MAX_SECRET_BYTES:
        raise _BadValueError(f"{path} has more than {MAX_SECRET_BYTES // 1024} KiB")
    try:
        text = raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise _BadValueError(f"{path} is not UTF-8 text") from None
    if not text:
        raise _BadValueError(f"{path} is empty")
    return _checked(text)


def _resolve(text: str) -> Scalar:
    """What an unquoted scalar means in YAML 1.2; numbers must be finite and of a sane length."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text) or _FLOAT.fullmatch(text):
        return _number(text)
    if _NOT_FINITE.fullmatch(text):
        raise _BadValueError(f"expected a finite number, not {text}")
    return _checked(text)


def _number(text: str) -> int | float:
    if len(text) > 40 or not math.isfinite(float(text)):
        raise _BadValueError("expected a number of a sane size")
    return int(text) if _INT.fullmatch(text) else float(text)


def _checked(text: str) -> str:
    if "\0" in text or not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise _BadValueError("expected text without NUL or half characters")
    return text


def _read_bytes(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "is a folder" if stat.S_ISDIR(mode) else "is not a regular file"
            raise ConfigError(f"{path}: {kind}, expected a YAML file")
        with path.open("rb") as file:
            return file.read(4 * MAX_BYTES + 4)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such path"
        raise ConfigError(f"{str(path)!a}: cannot read it: {reason}") from None


def _decode(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        raise ConfigError(f"{name}:{line}:{column}: not UTF-8 text, expected a YAML file") from None


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
        if self.root is None or (self.root.text in _NULL and self.root.plain):
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
            raise ConfigError(f"{self.name}:1:1: not valid YAML: a number or an escape in it is absurd") from None

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
        node = self.anchors.get(event.anchor)
        if node is None:
            raise self.error(_mark(event), f"alias *{event.anchor[:40]} stands before the end of its anchor")
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
    return Position(mark.line + 1, mark.column + 1)


def _plainly(error: yaml.MarkedYAMLError) -> str:
    problem = " ".join(str(error.problem or error.context).split())
    if "'\\t'" in problem:
        return "a tab stands where only spaces may indent"
    if problem == "mapping values are not allowed here":
        return "a colon stands where no key can be, put the text into quotes"
    if problem.endswith("but got '{'"):
        return problem + " (inside { } or [ ] put ${NAME} into quotes)"
    return problem
