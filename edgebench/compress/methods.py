"""The catalogue of compression methods: what a recipe's steps may say, checked without any framework.

A method is a frozen, keyword-only dataclass; its fields are its options, and it is found by its entry point in the
group "edgebench.methods", so that a stranger's is as good as ours.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from edgebench import plugins
from edgebench.codec import Options, to_json
from edgebench.errors import EdgebenchError, PlanError, did_you_mean
from edgebench.schema import Recipe, Step

GROUP = "edgebench.methods"
T = TypeVar("T")
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Options: "a table"}


class Method(Protocol):
    """One compression step. Constructing it checks its options and imports nothing."""

    name: ClassVar[str]
    precision: ClassVar[str | None]
    """The precision that its result runs in ("int8"); None leaves it as it was."""
    compresses: ClassVar[bool]
    """Whether its result is a smaller network, to be compared with the one it was given. A method may also have an `example`:
    a step as one writes it in a plan."""

    def apply(self, model: Any, context: Any) -> Any:
        """Take a torch.nn.Module and a Context; return the network after this step."""


def parse(step: Step) -> Method:
    """Make the method that a step names. Raises PlanError for a wrong method, option, type or value."""
    return typing.cast(Method, from_options(f'method "{step.method}"', step.method, _kind(step.method), step.options))


def from_options(what: str, word: str, kind: Any, options: Mapping[str, Any]) -> Any:
    """An instance of a dataclass from a table of a plan; `what` and `word` name it in a PlanError."""
    fields = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    given: dict[str, Any] = {}
    for key, value in options.items():
        if key not in fields:
            raise PlanError(f'The {what} has no option "{key}".', did_you_mean(key, fields))
        given[key] = _converted(word, key, hints[key], value)
    for key, field in fields.items():
        if key not in given and _required(field):
            fix = f'Add {key} to the step, as in {{ method = "{word}", {key} = ... }}.'
            raise PlanError(f'The {what} needs the option "{key}".', fix)
    return kind(**given)


def check_recipe(recipe: Recipe) -> None:
    """Refuse steps that no method knows and orders that make no sense. Raises PlanError with the reason."""
    methods = [parse(step) for step in recipe.steps]
    for method, after in zip(methods, methods[1:], strict=False):
        if method.precision:
            raise PlanError(
                f'The recipe "{recipe.name}" has "{after.name}" after "{method.name}", but a network in {method.precision}'
                " can be neither trained nor changed any more.",
                f'Make "{method.name}" the last step.'
                if not after.precision or after.name == method.name
                else f'Leave out one of the two: "{method.name}" or "{after.name}".',
            )
    for i, method in enumerate(methods):
        for after in methods[i + 1 :]:
            reason = _undone(method, after)
            if reason:
                raise PlanError(
                    f'The recipe "{recipe.name}" has "{after.name}" after "{method.name}", {reason}.',
                    f'Put "{method.name}" behind it; a training under the mask is its option retrain.',
                )


def _undone(method: Method, after: Method) -> str:
    """Why a later step would undo what a method must keep (`undone_by`), or nothing."""
    asked = getattr(method, "undone_by", None)
    return str(asked(after)) if asked else ""


def describe() -> list[dict[str, Any]]:
    """Every method as plain JSON: `name`, `summary`, `details`, `precision`, `compresses`, `options` (name, type, default,
    required), and where it has one an `example` of TOML.

    Where an option is a table by name, `tables` says of each name that it may hold what the method's own entry says.
    A method that does not import is listed with its reason as the summary.
    """
    found: list[dict[str, Any]] = []
    for name in plugins.names(GROUP):
        try:
            found.append(described(name))
        except EdgebenchError as error:
            found.append({"name": name, "summary": f"{error.problem} {error.fix}", "details": "", "options": []})
    return found


def described(name: str) -> dict[str, Any]:
    """One of them. Raises PlanError for a name that no method has."""
    kind = _kind(name)
    tables = {
        option: [_described(word, entry) for word, entry in choices().items()]
        for option, choices in getattr(kind, "tables", {}).items()
    }
    own = {"precision": kind.precision, "compresses": kind.compresses}
    return {**_described(name, kind), **own, **({"tables": tables} if tables else {})}


def _described(name: str, kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    doc = [part.replace("\n", " ") for part in (inspect.getdoc(kind) or "").split("\n\n")]
    options = [
        {"name": f.name, "type": _type_name(hints[f.name]), "default": _default(f), "required": _required(f)}
        for f in dataclasses.fields(kind)
    ]
    example = {"example": kind.example} if hasattr(kind, "example") else {}
    return {"name": name, "summary": doc[0], "details": " ".join(doc[1:]), "options": options, **example}


def _kind(name: str) -> Any:
    known = plugins.names(GROUP)
    if name not in known:
        raise PlanError(f'There is no method "{name}".', did_you_mean(name, known))
    kind = plugins.load(GROUP, name)
    lacks = [a for a in ("name", "precision", "compresses", "apply") if not hasattr(kind, a)]
    if not dataclasses.is_dataclass(kind) or lacks:
        wrong = f"lacks {lacks[0]}" if lacks else "is no dataclass"
        raise PlanError(
            f'The method "{name}" of {plugins.origin(GROUP, name)} {wrong}.',
            "Report it to its author: a method is a frozen dataclass with name, precision, compresses and apply.",
        )
    return kind


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    if _required(field):
        return None
    return to_json(field.default if field.default_factory is dataclasses.MISSING else field.default_factory())


def _choices(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(str(v) for v in typing.get_args(hint))
    names = [_WORDS.get(c, getattr(c, "__name__", str(c))) for c in _choices(hint) if c is not type(None)]
    return " or ".join(names)


def _converted(method: str, key: str, hint: Any, value: Any) -> Any:
    """The value as the field's type, where TOML's types fit it; a whole number is a number too."""
    if typing.get_origin(hint) is typing.Literal:
        if value not in typing.get_args(hint):
            fix = did_you_mean(str(value), [str(v) for v in typing.get_args(hint)])
            raise PlanError(f'The option {key} of "{method}" cannot be {value!r}.', fix)
        return value
    for choice in _choices(hint):
        if choice is float and type(value) is int:
            return float(value)
        if choice is Options and isinstance(value, Mapping):
            return Options(value)
        if isinstance(choice, type) and type(value) is choice:
            return value
    raise PlanError(f'The option {key} of "{method}" cannot be {value!r}.', f"Give {_type_name(hint)}.")
