"""A YAML text as plain data that remembers where everything stands: `Document`.

`edgekit.config.node` makes the tree; what its scalars mean is decided here:

* the file is UTF-8 and has at most 1 MB;
* scalars follow YAML 1.2: `true`, `false`, `null`, decimal numbers; everything else is text;
* `${NAME}`, `${NAME:-default}`, `!file path`, `!credential name` are filled in after parsing, so that a
  value can never become structure. What comes from there is never shown in a message.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from edgekit.config.node import NULL, Node, Position, compose
from edgekit.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_SECRET_BYTES = 65_536
STAND_IN = "not-set-here"

Loc: TypeAlias = tuple[str | int, ...]
Scalar: TypeAlias = str | int | float | bool | None

_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_VARIABLE = re.compile(r"\$?\$\{(?P<body>[^}]*)(?P<end>\}?)")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")
_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>.*))?", re.DOTALL)


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
    from the environment, a file or a credential; `secret` those of the latter two; `files` are those behind
    `!file`.
    """

    name: str
    base_dir: Path
    root: Node
    data: object = None
    problems: list[Problem] = field(default_factory=list)
    hidden: set[Loc] = field(default_factory=set)
    secret: set[Loc] = field(default_factory=set)
    files: dict[Loc, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data = self._value(self.root, ())

    @property
    def credentials(self) -> list[str]:
        """The names behind `!credential`, those that can be one."""
        named = {node.text or "" for node in self.root.scalars() if node.tag == "!credential"}
        return sorted(name for name in named if _CREDENTIAL.fullmatch(name))

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

    def stand_in(self, where: Callable[[Loc], bool]) -> None:
        """Let a text stand for what could not be filled in at the paths of `where`: nobody will use it."""
        for problem in [each for each in self.problems if where(each.loc)]:
            self.problems.remove(problem)
            *above, last = problem.loc
            part: Any = self.data
            for step in above:
                part = part[step]
            part[last] = STAND_IN

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
            if node.tag == "!credential":
                return _read_secret(_credential(filled))
            self.files[loc] = self.base_dir / Path(filled).expanduser()
            return _read_secret(self.files[loc])
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
        before = text[: found.start()]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise ConfigError(f"{name}:{line}:{column}: not text: control character {found.group()!a}")
    return Document(name, base_dir, compose(text, name))


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
            "no systemd credentials here ($CREDENTIALS_DIRECTORY is not set), expected LoadCredential="
        )
    if not name or "/" in name or name in {".", ".."}:
        raise _BadValueError("expected the plain name of a systemd credential")
    return Path(folder) / name


def _read_secret(path: Path) -> str:
    try:
        if not path.is_file():
            raise _BadValueError(
                f"{path} is no file"
                if path.exists()
                else f"{path} does not exist; write it, or correct the path"
            )
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = f"{error.strerror}; see ls -l {path}" if isinstance(error, OSError) else "no such path"
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
    if text in NULL:
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
    if "\0" in text or (not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)):
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
