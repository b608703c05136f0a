"""Makes rclpy messages for :mod:`lmtrack_ros.interface`."""

from functools import cache
from importlib import import_module
from typing import Any

from rclpy.clock import Clock
from rclpy.time import Time


@cache
def message_class(type_name: str) -> Any:
    """Return the rclpy class of ``package/msg/Name``."""
    package, kind, name = type_name.split("/")
    return getattr(import_module(f"{package}.{kind}"), name)


def make(type_name: str, **fields: Any) -> Any:
    """Return a message of ``package/msg/Name`` with these fields."""
    return message_class(type_name)(**fields)


def now_ns(clock: Clock) -> int:
    """Return a clock's time in ns."""
    now: Time = clock.now()
    return int(now.nanoseconds)
