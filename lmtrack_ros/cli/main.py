"""``lmtrack VERB ...``: imports only the verb that is called."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

import lmtrack_ros
from lmtrack_ros.core.errors import EXIT_USER_ERROR, UserError

VERBS = {
    "demo": "track a breathing phantom and let its couch follow, as live ROS 2 processes",
    "run": "start the nodes of a configuration and keep them running",
    "operate": "arm, disarm or hold the running gate; let the couch track",
    "replay": "decide on a recording in lock-step, without ROS and without a clock",
    "register": "say from a pair of radiographs how a patient lies off plan, without ROS",
    "evaluate": "score a tracker on an annotated sequence",
    "train": "train a model on phantoms or on your own images",
    "calibrate": "fit what a model says of its own errors, on sequences it was not trained on",
    "models": "list the models with their weights and scores, or ship weights of a run",
    "study": "repeat an experiment of a model's paper on phantoms, and write table and pictures",
    "phantom": "write moving anatomy with exact ground truth as a recording or a folder",
    "convert": "turn any source of frames into a rosbag2 recording",
    "faults": "inject every fault into the live graph and see how it answers",
    "qa": "check gate, prediction and couch on a phantom that follows motion traces, in lock-step and live",
    "bench": "measure speed, as ratios within one run",
    "doctor": "say what of the environment is there, and what to do about the rest",
}

EXIT_INTERRUPTED = 130

_NEEDED = {
    **dict.fromkeys(
        ("rclpy", "rcl_interfaces", "std_srvs", "lmtrack_ros"), "ROS 2; 'lmtrack doctor' says what is missing"
    ),
    **dict.fromkeys(("torch", "torchvision", "safetensors"), "torch: pip install -r requirements/models.txt"),
}
"""What a missing module is part of."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER_ERROR
    except ModuleNotFoundError as error:
        needed = _NEEDED.get((error.name or "").partition(".")[0])
        if needed is None:
            raise
        sys.stderr.write(f"error: {error}: this needs {needed}\n")
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(given: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="lmtrack",
        description="Landmark tracking, beam gating and couch tracking over ROS 2. Research software.",
    )
    parser.add_argument("--version", action="version", version=lmtrack_ros.__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, help_line in VERBS.items():
        subparser = verbs.add_parser(verb, help=help_line, description=help_line)
        if given[:1] == [verb]:
            import_module(f"lmtrack_ros.cli.{verb}").configure(subparser)
    parsed = parser.parse_args(given)
    return int(import_module(f"lmtrack_ros.cli.{parsed.verb}").run(parsed))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
