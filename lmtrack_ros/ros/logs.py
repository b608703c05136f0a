"""What the package's libraries log, in the log of the node that runs them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_PACKAGE = "lmtrack_ros"


class _NodeLog(logging.Handler):
    def __init__(self, logger: Any) -> None:
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log once more, with the same severity."""
        said = self.format(record)
        # calls of their own, for rclpy refuses another severity from the same one
        if record.levelno >= logging.ERROR:
            self._logger.error(said)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(said)
        else:
            self._logger.info(said)


@contextmanager
def logged_by(logger: Any) -> Iterator[None]:
    """Have a node's rclpy logger say what the libraries log meanwhile, progress (INFO) and above."""
    libraries = logging.getLogger(_PACKAGE)
    handler, level = _NodeLog(logger), libraries.level
    libraries.addHandler(handler)
    libraries.setLevel(logging.INFO)
    try:
        yield
    finally:
        libraries.removeHandler(handler)
        libraries.setLevel(level)
