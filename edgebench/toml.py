"""A TOML text to a checked dict: every mistake is told at once, with its line (https://toml.io/en/v1.0.0).

`tomllib` reads the values; it forgets where they stood, so a small scanner walks the same text and notes the
line of every key and list item. The scanner trusts its input: it only ever sees what tomllib has accepted.
"""

from __future__ import annotations

import json
import re
import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench.errors import PlanError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KeyPath = tuple[str | int, ...]
"""Keys and list indexes from the top of the document: ("recipe", 1, "steps", 0, "epochs")."""

_WORDS: dict[Any, str] = {
    str: "text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


class Document:
    """A parsed TOML text: `data` holds the values, `line` says where each of them stands."""

    def __init__(self, name: str, data: dict[str, Any], lines: Mapping[KeyPath, int]) -> None:
        self.name = name
        self.data = data
        self._lines = lines

    def line(self, *path: str | int) -> int | None:
        """The line, from 1, of the key or list item at `path`; None where the text has no such thing."""
        return self._lines.get(path)


def value(text: str) -> Any:
    """What a word of the command line stands for: true, 4, 0.5, [1, 2], {a = 1}; anything else is the text itself."""
    try:
        found = tomllib.loads(f"v = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return found["v"] if list(found) == ["v"] else text


def written(value: object) -> str:
    """A text, number, truth, list or table as TOML writes it, on one line. TOML has no word for None."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_bare(str(key))} = {written(v)}" for key, v in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(written, value))}]"
    # JSON's strings and numbers are TOML too, but for the one control character that it leaves.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _bare(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else written(key)


def read(path: Path) -> Document:
    """Read and parse a file. Raises PlanError when it is missing, unreadable, no text, or no TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(8192)
            binary = b"\0" in content  # a model file of gigabytes, named by mistake, is not read to its end
            text = "" if binary else (content + file.read()).decode("utf-8-sig")
    except FileNotFoundError:
        near = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        fix = did_you_mean(path.name, near) if near else "Check the path."
        raise PlanError(f"There is no file {path}.", fix) from None
    except IsADirectoryError:
        raise PlanError(f"{path} is a folder.", "Name a TOML file in it.") from None
    except UnicodeDecodeError:
        binary = True
    except OSError as error:
        fix = "Check the path and its permissions."
        raise PlanError(f"{path} cannot be read: {error.strerror}.", fix) from error
    if binary:
        raise PlanError(f"{path} is not a text file in UTF-8.", "Give a TOML file.")
    return parse(text, str(path))


def parse(text: str, name: str) -> Document:
    """Parse TOML; mistakes call the text `name`. Raises PlanError for a syntax error, showing its line."""
    try:
        data = tomllib.loads(text)
        lines = _Scanner(text).scan()
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(text, name, str(error)) from None
    except RecursionError:
        raise PlanError(f"{name} nests lists or tables too deeply.", "Write it flatter.") from None
    return Document(name, data, lines)


def _syntax_error(text: str, name: str, message: str) -> PlanError:
    rows = text.splitlines() or [""]
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    what = message[: place.start()] if place else message
    line, column = (int(place[1]), int(place[2])) if place and place[1] else (len(rows), len(rows[-1]) + 1)
    shown = rows[min(line, len(rows)) - 1].replace("\t", " ")
    what = what[:1].lower() + what[1:]
    return PlanError(
        f"{name}:{line}:{column} is not TOML: {what}.\n    {shown}\n    {' ' * (column - 1)}^",
        "Mend that line; the rules are at https://toml.io.",
    )


class Problems:
    """Collects mistakes, so that one PlanError can tell them all."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._found: list[tuple[int, str]] = []

    def add(self, path: KeyPath, message: str) -> None:
        """Note a mistake at `path`, or, where that is not in the text, at the nearest table around it."""
        line = next((n for i in range(len(path), 0, -1) if (n := self.document.line(*path[:i]))), 0)
        self._found.append((line, message if message.endswith((".", "?")) else f"{message}."))

    def raise_if_any(self) -> None:
        """Raise one PlanError with every mistake, in the order of the lines, if there is any."""
        if not self._found:
            return
        name = self.document.name
        found = sorted(dict.fromkeys(self._found), key=lambda f: f[0])
        told = [f"{name}:{line}: {text}" if line else f"{name}: {text}" for line, text in found]
        head = told[0] if len(told) == 1 else f"{name} has {len(told)} mistakes:\n  " + "\n  ".join(told)
        raise PlanError(head, "Correct the file and run the same command again.")


def check_table(
    document: Document, path: KeyPath, table: Mapping[str, Any], spec: Mapping[str, Any], problems: Problems,
    required: Sequence[str] = (),
) -> None:  # fmt: skip
    """Note unknown keys, missing keys, and values of a wrong type.

    `spec` maps each key to its type, or to a tuple of types, out of str, int, float, bool, list and dict.
    As in TOML, true is no whole number; a whole number will do where a float is wanted.
    """
    for key, value in table.items():
        if key not in spec:
            problems.add((*path, key), f'unknown key "{key}" {_place(path)}. {did_you_mean(key, spec)}')
        elif not _fits(value, spec[key]):
            problems.add((*path, key), f"{key} must be {_wanted(spec[key])}, not {_shown(value)}")
    for key in required:
        if key not in table:
            problems.add(path, f'there is no "{key}" {_place(path)}')


def _fits(value: Any, kinds: Any) -> bool:
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    return type(value) in kinds or (float in kinds and type(value) is int)


def _wanted(kinds: Any) -> str:
    return " or ".join(_WORDS[kind] for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (list, dict)):
        return _WORDS[type(value)]
    return str(value)


def _place(path: KeyPath) -> str:
    """Where a table is, in TOML's own notation: `at the top level`, `in [run]`, `in [[recipe]]`."""
    if not path:
        return "at the top level"
    name = ".".join(part for part in path if isinstance(part, str))
    return f"in [[{name}]]" if isinstance(path[-1], int) else f"in [{name}]"


_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r"'''.*?'''(?:'{0,2})"
    r'|"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'[^'\n]*'"
    r'|"(?:\\.|[^"\\\n])*"',
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}#\n]+")


class _Scanner:
    """Walks valid TOML once and notes the line of every key and list item."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.breaks = [i for i, c in enumerate(text) if c == "\n"]
        self.lines: dict[KeyPath, int] = {}
        self.counts: dict[KeyPath, int] = {}
        """How many [[...]] of each array of tables there were so far."""

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip(_SPACE):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self.lines

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Pass over what matches; whether there is any text left."""
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at < len(self.text)

    def _line(self, start: int) -> int:
        return bisect_right(self.breaks, start - 1) + 1

    def _note(self, path: KeyPath, start: int) -> None:
        self.lines.setdefault(path, self._line(start))

    def _header(self) -> KeyPath:
        start = self.at
        array = self.text.startswith("[[", start)
        self.at += 2 if array else 1
        parts = self._key()
        self.at += 2 if array else 1
        path: KeyPath = ()
        for i, part in enumerate(parts):
            path += (part,)
            self._note(path, start)
            if array and i == len(parts) - 1:
                self.counts[path] = self.counts.get(path, 0) + 1
            if path in self.counts:
                path += (self.counts[path] - 1,)
                self._note(path, start)
        if not array:
            self.lines[path] = self._line(start)  # [a.b] may have come before [a]: its own header counts
        return path

    def _key(self) -> list[str]:
        """The parts of a (dotted, quoted) key; stops at what follows it."""
        parts = []
        while True:
            self._skip(_BLANK)
            quoted = self.text[self.at] in "\"'"
            match = (_STRING if quoted else _BARE).match(self.text, self.at)
            assert match is not None
            parts.append(tomllib.loads(f"k = {match[0]}")["k"] if quoted else match[0])
            self.at = match.end()
            self._skip(_BLANK)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def _pair(self, table: KeyPath) -> None:
        start = self.at
        path = table
        for part in self._key():
            path += (part,)
            self._note(path, start)
        self.at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        first = self.text[self.at]
        if first == "[":
            self._members("]", path)
        elif first == "{":
            self._members("}", path)
        else:
            self._skip(_STRING if first in "\"'" else _PLAIN)

    def _members(self, end: str, path: KeyPath) -> None:
        """The items of a list (end "]") or the pairs of an inline table (end "}")."""
        self.at += 1
        index = 0
        while self._skip(_SPACE) and self.text[self.at] != end:
            if end == "}":
                self._pair(path)
            else:
                self._note((*path, index), self.at)
                self._value((*path, index))
                index += 1
            self._skip(_SPACE)
            if self.text.startswith(",", self.at):
                self.at += 1
        self.at += 1
