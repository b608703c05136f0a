"""Message types without ROS: those of Jazzy, our own, and any whose definition is installed."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from lmtrack_ros.configuration import share_directories
from lmtrack_ros.core.errors import UserError

_PACKAGE = "lmtrack_ros"


class MessageTypes:
    """Makes, serialises and describes messages by the name of their type (``pkg/msg/Name``).

    Attributes:
        store: the rosbags typestore behind it.
    """

    def __init__(self) -> None:
        self.store = get_typestore(Stores.ROS2_JAZZY)

    def require(self, type_name: str) -> None:
        """Make sure that a type is known, from the ``.msg`` files that are installed.

        Raises:
            UserError: no definition is found.
        """
        if type_name in self.store.fielddefs:
            return
        missing = {type_name}
        found: dict[str, Any] = {}
        while missing:
            name = missing.pop()
            found.update(get_types_from_msg(_definition(name), name))
            used = {used for _, fields in found.values() for _, field in fields for used in _types_in(field)}
            missing = used - found.keys() - self.store.fielddefs.keys()
        self.store.register(found)

    def make(self, type_name: str, **fields: Any) -> Any:
        """Return a message; fields that are not given are zero, empty or false.

        Raises:
            TypeError: the type has no such field.
        """
        self.require(type_name)
        _, definitions = self.store.fielddefs[type_name]
        if unknown := fields.keys() - {name for name, _ in definitions}:
            raise TypeError(f"{type_name} has no field {', '.join(sorted(unknown))}")
        values = {
            name: _adapted(kind, fields[name]) if name in fields else self._default(kind)
            for name, kind in definitions
        }
        return self.store.types[type_name](**values)

    def serialize(self, message: Any) -> bytes:
        """Return the CDR bytes of a message that :meth:`make` made."""
        return bytes(self.store.serialize_cdr(message, message.__msgtype__))

    def _default(self, kind: Any) -> Any:
        node, detail = kind
        if node == Nodetype.NAME:
            return self.make(detail)
        if node == Nodetype.BASE:
            return "" if detail[0] in _STRINGS else np.zeros((), detail[0]).item()
        item, size = detail
        count = size if node == Nodetype.ARRAY else 0
        if item[0] == Nodetype.BASE and item[1][0] not in _STRINGS:
            return np.zeros(count, item[1][0])
        return [self._default(item) for _ in range(count)]


def type_hash(type_name: str, definition: str) -> str:
    """Return the RIHS01 hash of a type from its full definition, that of the types it uses included."""
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(definition, type_name))
    return store.hash_rihs01(type_name)


_STRINGS = ("string", "wstring")


def _adapted(kind: Any, value: Any) -> Any:
    node, detail = kind
    if node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        item = detail[0]
        if item[0] == Nodetype.BASE and item[1][0] not in _STRINGS:
            if isinstance(value, bytes | bytearray | memoryview):
                return np.frombuffer(value, item[1][0])
            return np.asarray(value, dtype=item[1][0])
        return list(value)
    return value


def _types_in(kind: Any) -> Sequence[str]:
    node, detail = kind
    if node == Nodetype.NAME:
        return (detail,)
    return _types_in(detail[0]) if node in (Nodetype.ARRAY, Nodetype.SEQUENCE) else ()


def _definition(type_name: str) -> str:
    package, _, name = type_name.partition("/msg/")
    if package == _PACKAGE:
        shares = list(share_directories())
    else:
        prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
        shares = [Path(prefix, "share", package) for prefix in prefixes if prefix]
    for share in shares:
        file = share / "msg" / f"{name}.msg"
        if name and file.is_file():
            return file.read_text(encoding="utf-8")
    raise UserError(f"message type {type_name} is unknown: its package is not installed here")
