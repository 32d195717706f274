"""Says in one plain line what is wrong with a value: pydantic finds it, the JSON schema words it.

`check(document, model)` turns a `Document` into a pydantic object or raises ConfigError with one line per
mistake, in the order of the file:

    demo.yaml:3:9: model.engine: expected one of auto, native, tflite, not 'nativ', did you mean 'native'?
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError

from edgekit.config.document import Document, Loc
from edgekit.config.node import Position
from edgekit.errors import ConfigError

MAX_LINES = 20
MAX_SHOWN = 60

Schema: TypeAlias = dict[str, Any]
Error: TypeAlias = Mapping[str, Any]  # one of pydantic's ErrorDetails
ModelT = TypeVar("ModelT", bound=BaseModel)

_CREDENTIALS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>[^\s'\"<>]*)")
_QUERY = re.compile(r"(?i)(?P<key>[?&;](?:\w*(?:pass|pwd|token|secret|auth|key)\w*|user|usr)=)[^&;#\s'\"]+")


def mask_url(text: str) -> str:
    """The text with user and password of every URL in it as `***`; made for logs and messages.

    Passwords may hold @, / and # unescaped, as they do in many a camera's URL; `?password=...` and its
    kind are masked too. In doubt too much is masked.
    """
    return _QUERY.sub(r"\g<key>***", _CREDENTIALS.sub(_masked, text))


def _masked(found: re.Match[str]) -> str:
    rest: str = found["rest"]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest and ("@" in authority or ":" in authority):
        rest = "***:***@" + rest.rpartition("@")[2]
    return str(found["scheme"]) + rest


def passwords(text: str) -> list[str]:
    """Those that `mask_url` would mask in a URL, as they stand there and unescaped; no user names."""
    logins = [match["rest"].rpartition("@")[0].partition(":")[2] for match in _CREDENTIALS.finditer(text)]
    asked = [
        match.group().partition("=")[2]
        for match in _QUERY.finditer(text)
        if not match["key"][1:].lower().startswith("us")
    ]
    return [word for found in logins + asked for word in {found, unquote(found)} if word]


def show(value: object) -> str:
    """A value as a message shows it: one line, short, in quotes where it is text, no login of a URL."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    if isinstance(value, str):
        return repr(_cut(mask_url(value)))
    if isinstance(value, int | float):
        return _cut(str(value))
    if isinstance(value, list | Mapping):
        return f"{'a' if value else 'an empty'} {'list' if isinstance(value, list) else 'mapping'}"
    return "that"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def dotted(loc: Loc) -> str:
    """A path as people write it: `cameras.front.labels[2]`."""
    text = ""
    for step in loc:
        key = _cut(step) if isinstance(step, str) else ""
        text += f"[{step}]" if isinstance(step, int) else f".{key if key.isprintable() else repr(key)}"
    return text.removeprefix(".")


def similar(word: object, words: Iterable[str]) -> str:
    """`, did you mean 'x'?` when one of `words` looks like `word`, else an empty text."""
    known = {other.lower(): other for other in words}
    found = difflib.get_close_matches(str(word).lower()[:64], known, n=1, cutoff=0.6)
    return f", did you mean {known[found[0]]!r}?" if found else ""


def check(document: Document, model: type[ModelT], context: dict[str, Any] | None = None) -> ModelT:
    """Check the document's data against `model`. Raises ConfigError with one line per mistake, at most 20.

    A mistake in a value that was merged in from elsewhere is told where it stands, not where it landed.
    """
    try:
        checked = model.model_validate(document.data, context=context)
    except ValidationError as error:
        errors = _in_place(document, error)
    else:
        errors = []
    if errors or document.problems:
        raise ConfigError("\n".join(_lines(document, model.model_json_schema(), errors)))
    return checked


def _in_place(document: Document, error: ValidationError) -> list[Error]:
    """The errors to tell: not of values that could not be filled in, not twice of what was merged in."""
    broken = {problem.loc for problem in document.problems}
    every: list[Error] = [{**each, "loc": _whole_loc(dict(each))} for each in error.errors(include_url=False)]
    errors = [each for each in every if not _below(_loc(each["loc"]), broken)]
    in_place = [each for each in errors if not _is_merged_in(document, each)]
    return in_place if in_place or broken else errors


def _whole_loc(error: Error) -> Loc:
    """The path of keys to an error, down to where the one who found it says that it stands."""
    return (*error["loc"], *getattr(error.get("ctx", {}).get("error"), "path", ()))


def _lines(document: Document, schema: Schema, errors: list[Error]) -> list[str]:
    """A line for each mistake in the order of the file; past the first 20 only their number."""
    places: list[tuple[Position, Loc, str]] = []
    for error in errors:
        position, loc = _place(document, error)
        places.append((position, loc, complain(schema, error, hidden=_below(loc, document.hidden))))
    return _in_order(document, [*places, *((p.position, p.loc, p.text) for p in document.problems)])


def _in_order(document: Document, places: Iterable[tuple[Position, Loc, str]]) -> list[str]:
    every = sorted(places, key=lambda place: place[0])
    lines = []
    for position, loc, text in every[:MAX_LINES]:
        key = f"{dotted(loc)}: " if loc else ""
        lines.append(f"{document.name}:{position.line}:{position.column}: {key}{text}")
    if len(every) > MAX_LINES:
        lines.append(f"{document.name}: and {len(every) - MAX_LINES} more mistakes")
    return lines


def tell(document: Document, mistakes: Iterable[tuple[Loc, str]]) -> str:
    """A line for each mistake that only shows once the file is checked, in the order of the file.

    What a camera inherits is told once, where it stands.
    """
    places = dict.fromkeys((_written(document, loc), text) for loc, text in mistakes)
    return "\n".join(_in_order(document, [(document.position(loc), loc, text) for loc, text in places]))


def _written(document: Document, loc: Loc) -> Loc:
    """Where a value stands in the file: at the camera, at the `detect` of all, or the nearest above it."""
    if document.find(loc) is None and loc[:1] == ("cameras",) and document.find(loc[2:]):
        return loc[2:]
    return loc


def _place(document: Document, error: Error) -> tuple[Position, Loc]:
    """Where an error stands in the file, and under which key."""
    loc = _loc(error["loc"])
    while loc[:-1] and document.find(loc[:-1]) is None:
        loc = loc[:-1]
    parent = document.find(loc[:-1])
    if parent is not None and parent.text is not None:  # the short form of a mapping: its text is at fault
        loc = loc[:-1]
    of_key = error["loc"][-1:] == ("[key]",) or error["type"] == "extra_forbidden"
    return document.position(loc[:-1] if error["type"] == "missing" else loc, of_key=of_key), loc


def _is_merged_in(document: Document, error: Error) -> bool:
    """Whether the value at fault stands under a mapping of the file that does not have its key."""
    loc = _loc(error["loc"])
    loc = loc[:-1] if error["type"] == "missing" else loc
    while loc and document.find(loc) is None:
        loc = loc[:-1]
        node = document.find(loc)
        if node is not None:
            return node.text is None
    return False


def _below(loc: Loc, above: AbstractSet[Loc]) -> bool:
    return any(loc[:depth] in above for depth in range(len(loc) + 1))


def complain(schema: Schema, error: Error, *, hidden: bool = False) -> str:
    """One pydantic error in plain words. `schema` is the JSON schema of the whole model; the value stays
    unsaid when `hidden` or when the schema says that it is a password.
    """
    kind, loc, value = error["type"], _loc(error["loc"]), error["input"]
    if kind == "extra_forbidden":
        known = _keys(schema, schema_at(schema, loc[:-1]))
        close = similar(loc[-1], known)
        return f"unknown key{close}" if close else f"unknown key, expected one of {', '.join(sorted(known))}"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    part = schema_at(schema, loc)
    if kind == "missing":
        return f"missing, expected {expected(schema, part)}"
    if error["loc"][-1:] == ("[key]",):
        return _bad_name(schema, str(loc[-1]), loc)
    if kind in {"string_too_short", "string_too_long"}:
        return f"expected a text of {_length(resolve(schema, part))} characters"
    size = f" of {len(value)}" if kind in {"too_short", "too_long"} and value and not hidden else ""
    return f"expected {expected(schema, part)}{_not(schema, part, value, hidden=hidden)}{size}"


def _not(schema: Schema, part: Schema, value: object, *, hidden: bool) -> str:
    """`, not 'nativ', did you mean 'native'?`: the value, unless it is secret, and what would mend it."""
    part = resolve(schema, part)
    bare = isinstance(value, bool | int | float) and _is_text(schema, part)
    mend = " (put it into quotes)" if bare else ""
    if hidden:
        return ", not what was filled in"
    if any(resolve(schema, choice).get("writeOnly") for choice in part.get("anyOf", [part])):
        return mend
    close = similar(value, choices(schema, part)) if isinstance(value, str) else ""
    return f", not {show(value)}{mend}{close}"


def _keys(schema: Schema, part: Schema) -> list[str]:
    parts = [resolve(schema, choice) for choice in part.get("anyOf", [part])]
    return [key for each in parts for key in each.get("properties", {})]


def _is_text(schema: Schema, part: Schema) -> bool:
    kinds = [resolve(schema, choice) for choice in part.get("anyOf", [part])]
    return any(_type(kind) == "string" and "enum" not in kind for kind in kinds)


def _bad_name(schema: Schema, name: str, loc: Loc) -> str:
    parent = resolve(schema, schema_at(schema, loc[:-1]))
    rule = expected(
        schema, parent.get("propertyNames", next(iter(parent.get("patternProperties", {"": {}}).values())))
    )
    slug = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:64]
    close = f", did you mean {slug!r}?" if slug and slug != name else ""
    return f"expected {rule} as the name{close}"


def _loc(loc: Iterable[str | int]) -> Loc:
    return tuple(step for step in loc if step != "[key]")


def resolve(schema: Schema, part: Schema) -> Schema:
    """`part` with its `$ref` followed, and of `anyOf` with null the one other choice."""
    while True:
        if "$ref" in part:
            part = {
                **schema["$defs"][part["$ref"].rpartition("/")[2]],
                **{k: v for k, v in part.items() if k != "$ref"},
            }
            continue
        choices = [choice for choice in part.get("anyOf", []) if choice.get("type") != "null"]
        if len(choices) != 1:
            return part
        part = choices[0]


def schema_at(schema: Schema, loc: Loc) -> Schema:
    """The part of a JSON schema that describes the value at `loc`; empty where it describes none."""
    part = resolve(schema, schema)
    for step in loc:
        part = resolve(schema, _step(schema, part, step))
    return part


def _step(schema: Schema, part: Schema, step: str | int) -> Schema:
    for choice in part.get("anyOf", [part]):
        choice = resolve(schema, choice)  # noqa: PLW2901  (the same choice, its reference followed)
        if isinstance(step, int) and "items" in choice:
            return dict(choice["items"])
        if step in choice.get("properties", {}):
            return dict(choice["properties"][step])
        for values in [*choice.get("patternProperties", {}).values(), choice.get("additionalProperties")]:
            if isinstance(values, dict):
                return values
    return {}


def choices(schema: Schema, part: Schema) -> list[str]:
    """The words that a value may be, where there is a list of them."""
    part = resolve(schema, part)
    if "anyOf" in part:
        return [word for choice in part["anyOf"] for word in choices(schema, choice)]
    return [word for word in part.get("enum", []) if isinstance(word, str)]


def expected(schema: Schema, part: Schema) -> str:
    """What a part of a JSON schema allows, in words: `a whole number from 1 to 64`."""
    part = resolve(schema, part)
    if "patternErrorMessage" in part:
        return str(part["patternErrorMessage"])
    if "const" in part:
        return show(part["const"])
    if "enum" in part:
        return "one of " + ", ".join(map(str, part["enum"]))
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(expected(schema, choice) for choice in part["anyOf"]))
    items = resolve(schema, part.get("items", {})).get("patternErrorMessage")
    return _kind(part) + (f": {items}" if items else "")


def _kind(part: Schema) -> str:
    kind = _type(part)
    if kind in {"integer", "number"}:
        step = part.get("multipleOf")
        name = (
            f"a multiple of {_figure(step)}"
            if step
            else "a whole number"
            if kind == "integer"
            else "a number"
        )
        return name + _range(part)
    if kind == "object":
        return "a mapping" + (_entries(part, "Properties") or " (key: value)")
    if kind == "array":
        return "a list" + _entries(part, "Items")
    return {"string": "a text", "boolean": "true or false", "null": "nothing"}.get(kind, "something else")


def _entries(part: Schema, of: str) -> str:
    least, most = part.get(f"min{of}", 0), part.get(f"max{of}")
    if most is not None:
        return f" of {least} entries" if least == most else f" of {least} to {most} entries"
    return " with at least one entry" if least else ""


def _type(part: Schema) -> str:
    kind = part.get("type")
    return str(kind[0] if isinstance(kind, list) else kind)


def _length(part: Schema) -> str:
    return f"{part.get('minLength', 0)} to {part.get('maxLength', 'any number of')}"


def _range(part: Schema) -> str:
    low, above = part.get("minimum"), part.get("exclusiveMinimum")
    high, below = part.get("maximum"), part.get("exclusiveMaximum")
    start = (
        f" from {_figure(low)}"
        if low is not None
        else f" above {_figure(above)}"
        if above is not None
        else ""
    )
    if high is not None:
        return start + (f" to {_figure(high)}" if low is not None else f" and at most {_figure(high)}")
    return start + (f" and below {_figure(below)}" if below is not None else "")


def _figure(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
