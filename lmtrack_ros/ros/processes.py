"""Starts the nodes of a graph as processes and stops them so that the last word is HOLD."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.graph import STOP_ORDER, NodeDescription
from lmtrack_ros.ros import environment

_STOP_TIMEOUT_S = 10.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)


def _end_with_parent() -> None:
    """Have this process terminated when its parent dies, however that comes: no gate is left alone."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Processes:
    """The running nodes of a graph; a context manager that stops them.

    While they run, an interrupt or a request to terminate is not raised wherever the program happens
    to be, for ROS would swallow it in some places, but by the next :meth:`check`.

    Args:
        nodes: in the order to start them.
        namespace: of all their names.
        log_directory: each node's output goes to ``NODE.log`` there; None: to our own.
    """

    def __init__(
        self, nodes: Sequence[NodeDescription], namespace: str = "", log_directory: Path | None = None
    ) -> None:
        self._nodes = nodes
        self._namespace = namespace
        self._log_directory = log_directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started: set[str] = set()
        self._interrupted = threading.Event()
        self._handlers: dict[int, Any] = {}
        self._variables = dict(os.environ)

    def __enter__(self) -> "Processes":
        environment.prepare(self._variables)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, lambda *_: self._interrupted.set())
        try:
            for node in self._nodes:
                self.start(node)
        except BaseException:
            self.stop()
            raise
        return self

    def start(self, node: NodeDescription, name: str = "") -> None:
        """Start one node more, or one that has ended again; its log is continued.

        Args:
            node: in the namespace of the others.
            name: to call the process here; the node's own where not given.
        """
        name = name or node.name
        command = [sys.executable, "-m", f"lmtrack_ros.nodes.{node.name}"]
        output = None
        if self._log_directory is not None:
            self._log_directory.mkdir(parents=True, exist_ok=True)
            output = self.log_file(name).open("ab" if name in self._started else "wb")
        self._started.add(name)
        # a session of its own: Ctrl-C reaches only us, and we stop the nodes in order
        self._running[name] = subprocess.Popen(
            [*command, *node.ros_arguments(self._namespace)],
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        if output is not None:
            output.close()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def log_file(self, name: str) -> Path:
        """Return where a node's output goes."""
        assert self._log_directory is not None
        return self._log_directory / f"{name}.log"

    def process_id(self, name: str) -> int:
        """Return the process id of a node."""
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """End a node with no chance to say anything; it is no longer expected to run."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def end(self, name: str) -> None:
        """Stop one node in good order; it is no longer expected to run."""
        process = self._running.pop(name)
        if process.poll() is None:
            # not SIGINT: Python may swallow that while a node still imports
            process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def check(self) -> None:
        """Raise if a node has ended by itself, or the program was asked to stop.

        Raises:
            KeyboardInterrupt: it was asked to stop.
            UserError: names the node and the last line that it said.
        """
        if self._interrupted.is_set():
            raise KeyboardInterrupt
        for name, process in self._running.items():
            code = process.poll()
            if code is None:
                continue
            said = ""
            if self._log_directory is not None:
                lines = self.log_file(name).read_text(errors="replace").strip().splitlines()
                said = f": {lines[-1].removeprefix('error: ')}" if lines else ""
            raise UserError(f"node '{name}' ended with exit code {code}{said}")

    def stop(self) -> None:
        """Stop the gate first, so that it holds while the others still listen, the recorder last."""
        extra = [n for n in self._running if n not in STOP_ORDER]
        for name in (*extra, *(n for n in STOP_ORDER if n in self._running)):
            self.end(name)
        while self._handlers:
            signal.signal(*self._handlers.popitem())
