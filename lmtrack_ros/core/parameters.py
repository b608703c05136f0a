"""Parameter dataclasses: one schema for nodes, offline runs and YAML files.

A parameter class is a frozen dataclass whose fields are made with :func:`parameter`; names carry
their unit. :func:`build` makes one from plain values and says in one line what is wrong with them.
"""

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from lmtrack_ros.core.errors import UserError, unknown_name

T = TypeVar("T")


@dataclass(frozen=True)
class Constraint:
    """What a parameter may be.

    Attributes:
        description: one sentence with the unit.
        minimum: least value, or None.
        maximum: greatest value, or None.
        choices: allowed strings; empty where any will do.
    """

    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


def parameter(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """Declare one parameter of a parameter dataclass."""
    constraint = Constraint(description, minimum, maximum, tuple(choices))
    return field(default=default, metadata={"constraint": constraint})


def field_types(cls: type) -> dict[str, type]:
    """Return the resolved type of every field of a parameter class."""
    return typing.get_type_hints(cls)


def constraint_of(cls: type, name: str) -> Constraint:
    """Return the constraint of one field."""
    (found,) = (f for f in fields(cls) if f.name == name)
    return typing.cast(Constraint, found.metadata["constraint"])


def build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make a parameter dataclass from plain (YAML, ROS) values.

    Args:
        cls: the parameter class.
        values: by field name; a nested group is a mapping.
        where: what the error message calls the source of the values.

    Raises:
        UserError: an unknown key, a wrong type or a value out of range.
    """
    return _built(cls, defaults(cls), values, where)


def _built(cls: type[T], initial: Mapping[str, Any], values: Mapping[str, Any], where: str) -> T:
    kinds = field_types(cls)
    arguments = dict(initial)
    for name, value in values.items():
        if name not in kinds:
            raise UserError(f"{where}: {unknown_name('parameter', name, kinds)}")
        kind = kinds[name]
        if is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise UserError(f"{where}: '{name}' must be a group of parameters, got {value!r}")
            arguments[name] = _built(kind, values_of(initial[name]), value, f"{where}: {name}")
        else:
            arguments[name] = _checked(kind, value, constraint_of(cls, name), f"{where}: {name}")
    try:
        return cls(**arguments)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _checked(kind: Any, value: Any, constraint: Constraint, where: str) -> Any:
    if typing.get_origin(kind) is tuple:
        (item,) = (a for a in typing.get_args(kind) if a is not Ellipsis)
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise UserError(f"{where} must be a list, got {value!r}")
        return tuple(_checked(item, v, constraint, where) for v in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise UserError(f"{where} must be {_TYPE_NAMES[kind]}, got {value!r}")
    if constraint.choices and value not in constraint.choices:
        raise UserError(f"{where}: {unknown_name('value', value, constraint.choices)}")
    if isinstance(value, int | float):
        # written so that NaN fails
        if constraint.minimum is not None and not value >= constraint.minimum:
            raise UserError(f"{where} must be at least {constraint.minimum:g}, got {value}")
        if constraint.maximum is not None and not value <= constraint.maximum:
            raise UserError(f"{where} must be at most {constraint.maximum:g}, got {value}")
    if value != value:
        raise UserError(f"{where} must be a number, got {value}")
    return value


_TYPE_NAMES: Mapping[Any, str] = types.MappingProxyType(
    {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
)


def defaults(cls: type) -> dict[str, Any]:
    """Return the default of every field, nested groups as parameter objects.

    What a class says of its nested group counts, not what the group's own class says.
    """
    return {
        f.name: f.default if f.default is not MISSING else typing.cast(Any, f.default_factory)()
        for f in fields(cls)
    }


def values_of(parameters: Any) -> dict[str, Any]:
    """Return the value of every field of a parameter object, nested groups as parameter objects."""
    return {f.name: getattr(parameters, f.name) for f in fields(parameters)}
