"""The way of records into JSON and back, and the free-form JSON that they hold.

Records are written to disk and sent between processes, so a change to any of them changes `SCHEMA`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import types
import typing
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping
from functools import cache
from typing import Any, Literal, TypeVar

from edgebench.errors import StoreError

SCHEMA = 1


T = TypeVar("T")


def canonical(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, no NaN. Hashes of records are made from it."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON text of a record or plain value, as hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


class Options(Mapping[str, Any]):
    """An immutable, hashable mapping of JSON values: what a step, a cell or a backend was asked."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        self._items: dict[str, Any] = {**(items or {}), **more}

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    # What Mapping does in Python for every key, the dict does at once: reports look up millions.

    def get(self, key: str, default: Any = None, /) -> Any:
        return self._items.get(key, default)

    def items(self) -> ItemsView[str, Any]:
        return self._items.items()

    def keys(self) -> KeysView[str]:
        return self._items.keys()

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __hash__(self) -> int:
        return hash(canonical(self._items))

    def __repr__(self) -> str:
        return f"Options({self._items!r})"


def to_json(value: Any) -> Any:
    """Turn records, Options and tuples into what `json` writes. Fields at their default are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        out = {}
        for f in dataclasses.fields(value):
            item = getattr(value, f.name)
            if f.name == "schema" or not _is_default(f, item):
                out[f.name] = to_json(item)
        return out
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value


def _is_default(f: dataclasses.Field[Any], item: Any) -> bool:
    if f.default is not dataclasses.MISSING:
        return bool(item == f.default)
    if f.default_factory is not dataclasses.MISSING:
        return bool(item == f.default_factory())
    return False


def from_json(kind: type[T], data: Any) -> T:
    """Build a record of `kind` from parsed JSON. Raises StoreError for anything that does not fit."""
    if isinstance(data, Mapping) and isinstance(data.get("schema"), int) and data["schema"] > SCHEMA:
        raise StoreError(
            f"This {kind.__name__} was written with schema {data['schema']}, newer than {SCHEMA}, the newest known here.",
            "Update edgebench on this machine, or use the version that wrote it.",
        )
    try:
        return typing.cast(T, _decoder(typing.cast(Any, kind))(data))
    except (TypeError, ValueError, KeyError) as error:
        raise StoreError(
            f"A {kind.__name__} record cannot be read: {error}.", "Use the file as edgebench wrote it, or run again."
        ) from error


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    """What builds a `kind` from parsed JSON: put together once a kind, since a report may read 10,000 records."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        known = next(a for a in arguments if a is not type(None))
        return _optional(_decoder(known), float if known is float else None)
    if origin is tuple:
        return _list_of(_decoder(arguments[0]), floats=arguments[0] is float)
    if origin is Literal:
        return _one_of(arguments)
    if dataclasses.is_dataclass(kind):
        return _record(typing.cast(type, kind))
    if kind is Options:
        return lambda data: data if type(data) is Options else Options(data)
    return _itself if kind is Any else _plain(kind)


def _itself(data: Any) -> Any:
    return data


def _optional(decode: Callable[[Any], Any], kind: Any) -> Callable[[Any], Any]:
    return lambda data: data if data is None or type(data) is kind else decode(data)


_FLOAT = frozenset((float,))


def _list_of(decode: Callable[[Any], Any], floats: bool = False) -> Callable[[Any], Any]:
    """`floats`: of samples, which are right as they are but for a whole number here and there."""

    def decode_list(data: Any) -> Any:
        if not isinstance(data, (list, tuple)):
            raise TypeError(f"expected a list, found {data!r}")
        if floats and _FLOAT.issuperset(map(type, data)):
            return tuple(data)
        return tuple([decode(d) for d in data])

    return decode_list


def _one_of(known: tuple[Any, ...]) -> Callable[[Any], Any]:
    def decode_word(data: Any) -> Any:
        if data not in known:
            raise ValueError(f"{data!r} is none of {known}")
        return data

    return decode_word


def _plain(kind: type) -> Callable[[Any], Any]:
    if kind is str:
        return sys.intern  # names, units and sources are the same few in thousands of records: each is kept once

    def decode_plain(data: Any) -> Any:
        if type(data) is kind:
            return data
        if kind is float and type(data) is int:
            return float(data)
        raise TypeError(f"expected {kind.__name__}, found {data!r}")

    return decode_plain


def _record(kind: type) -> Callable[[Any], Any]:
    decoders = {name: _decoder(hint) for name, hint in typing.get_type_hints(kind).items()}

    def decode_record(data: Any) -> Any:
        if type(data) is not dict and not isinstance(data, Mapping):
            raise TypeError(f"expected a {kind.__name__}, found {data!r}")
        try:
            return kind(**{key: decoders[key](value) for key, value in data.items()})
        except KeyError:
            unknown = data.keys() - decoders.keys()
            if unknown:
                raise KeyError(f"{kind.__name__} has no field {sorted(unknown)[0]!r}") from None
            raise
        except TypeError:
            for key, value in data.items():
                if decoders[key] is sys.intern and type(value) is not str:
                    raise TypeError(f"expected str as {key}, found {value!r}") from None
            raise

    return decode_record
