"""Parameter dataclasses as declared ROS parameters."""

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from lmtrack_ros.core.errors import UserError, unknown_name
from lmtrack_ros.core.parameters import Constraint, build, constraint_of, defaults, field_types, values_of

T = TypeVar("T")

_ARRAY_TYPES = {
    tuple[float, ...]: Parameter.Type.DOUBLE_ARRAY,
    tuple[bool, ...]: Parameter.Type.BOOL_ARRAY,
    tuple[str, ...]: Parameter.Type.STRING_ARRAY,
    tuple[int, ...]: Parameter.Type.INTEGER_ARRAY,
}


def declare(node: Node, cls: type[T], prefix: str = "") -> T:
    """Declare every field of a parameter dataclass and return it with the values given to the node.

    Args:
        node: takes them from its parameter file, command line or overrides; all are read-only.
        cls: the parameter dataclass.
        prefix: of the names, with its dot.

    Raises:
        UserError: a value of a wrong type or out of range.
    """
    return build(cls, _declare(node, cls, prefix, defaults(cls)), node.get_name())


def reject_unknown(node: Node, groups: Collection[str] = ()) -> None:
    """Refuse parameters that were given to the node but never declared; ROS ignores them silently.

    Args:
        node: has declared what it uses.
        groups: names of groups of parameters that may be given though nothing in them is declared.

    Raises:
        UserError: names the first of them.
    """
    known = set(node._parameters)
    for name in node._parameter_overrides:
        if name not in known and name.partition(".")[0] not in ("qos_overrides", *groups):
            raise UserError(f"{node.get_name()}: {unknown_name('parameter', name, known)}")


def _declare(node: Node, cls: type, prefix: str, initial: Mapping[str, Any]) -> dict[str, Any]:
    kinds = field_types(cls)
    values: dict[str, Any] = {}
    for field in fields(cls):  # type: ignore[arg-type]
        name, kind = field.name, kinds[field.name]
        if is_dataclass(kind):
            values[name] = _declare(node, kind, f"{prefix}{name}.", values_of(initial[name]))
            continue
        descriptor = _descriptor(kind, constraint_of(cls, name))
        default = list(initial[name]) if kind in _ARRAY_TYPES else initial[name]
        try:
            # an empty list has no type of its own
            given = default if default != [] else _ARRAY_TYPES[kind]
            value = node.declare_parameter(prefix + name, given, descriptor).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise UserError(f"{node.get_name()}: {' '.join(str(error).split())}") from error
        values[name] = default if value is None else _plain(value)
    return values


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float) else list(value)


def _descriptor(kind: Any, constraint: Constraint) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=constraint.description, read_only=True)
    low, high = constraint.minimum, constraint.maximum
    if kind is float and low is not None and high is not None:
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    if kind is int and low is not None and high is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return descriptor
