"""Whichever process dies at whatever moment, the beam is off in time, and stays off where it must."""

import random
import time
from pathlib import Path

import pytest

from lmtrack_ros.configuration import find_config
from lmtrack_ros.core.records import NS_PER_MS
from lmtrack_ros.ros.fault_bench import FaultBench

KILLS = 50
SEED = 20240601
TIMEOUT_S = 10.0
VICTIMS = ("image_source", "tracker", "gating", "couch_simulator")
LATCHING_VICTIMS = ("tracker", "gating")


def bring_beam_on(bench: FaultBench, victim: str) -> None:
    """A couch matters only while it follows the target."""
    bench.bring_beam_on()
    if victim == "couch_simulator":
        bench.injector.set_couch_tracking(True, TIMEOUT_S)
        bench.wait(1.0)
        bench.bring_beam_on()


@pytest.mark.long
def test_random_kills_hold_in_time(domain: int, tmp_path: Path) -> None:
    choose = random.Random(SEED)
    worst_ms: dict[str, list[float]] = {victim: [] for victim in VICTIMS}
    wrong: list[str] = []
    with FaultBench(find_config("demo"), tmp_path) as bench:
        for number in range(KILLS):
            victim, moment_s = choose.choice(VICTIMS), choose.uniform(0.0, 1.0)
            watch = bench.injector.watch
            bring_beam_on(bench, victim)
            bench.wait(moment_s)
            if watch.on_since_ns() is None:
                bring_beam_on(bench, victim)
            watch.forget()
            killed_ns = bench.kill(victim)
            bench.wait(0.7)
            held_ns = watch.off_after_ns(killed_ns)
            if held_ns is None:
                wrong.append(f"{number} {victim}: not held")
            else:
                hold_ms = (held_ns - killed_ns) / NS_PER_MS
                worst_ms[victim].append(hold_ms)
                if hold_ms > bench.budget_ms:
                    wrong.append(f"{number} {victim}: held only after {hold_ms:.0f} ms")
            restarted_ns = time.monotonic_ns()
            bench.restart(victim)
            bench.wait(1.0)
            if victim in LATCHING_VICTIMS and watch.on_after_ns(restarted_ns) is not None:
                wrong.append(f"{number} {victim}: the beam came back by itself")
            if victim == "couch_simulator":
                bench.injector.set_couch_tracking(False, TIMEOUT_S)
        rows = [f"{v}: {len(ms)} kills, worst {max(ms, default=0.0):.0f} ms" for v, ms in worst_ms.items()]
    logs = [p for p in tmp_path.glob("log_*/*.log") if "Traceback" in p.read_text(errors="replace")]
    print("\n".join([f"seed {SEED}, budget {bench.budget_ms:.0f} ms", *rows]))  # noqa: T201
    assert not wrong, wrong
    assert not logs, logs
