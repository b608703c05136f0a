"""``lmtrack faults``: every fault against the live graph, and how it answers."""

import argparse
import json
import shutil
import sys
from pathlib import Path

from lmtrack_ros.configuration import find_config
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.faults import Finding, judge, markdown, report, selected
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.ros.fault_bench import FOLDERS, FaultBench

_PAGE = "faults.md"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--config", default="demo", help="name of a configuration, or a YAML file")
    parser.add_argument("--out", type=Path, default=Path("out/faults"), help="folder for table and logs")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="which faults; all by default")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="how often each")
    parser.add_argument("--json", action="store_true", help="print the table as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the faults and print what came of them; 1 where any fails."""
    if arguments.runs < 1:
        raise UserError("--runs must be positive")
    faults = selected(arguments.only)
    out = _fresh_folder(arguments.out)
    findings: list[Finding] = []
    with FaultBench(find_config(arguments.config), out) as bench:
        for number, fault in enumerate(faults, 1):
            sys.stderr.write(f"{number:2} of {len(faults)}  {fault.name:16} ")
            sys.stderr.flush()
            runs = [bench.run(fault) for _ in range(arguments.runs)]
            finding = judge(fault, runs, bench.budget_ms)
            findings.append(finding)
            sys.stderr.write(f"{finding.verdict}  {finding.detected_as}  {finding.why}\n")
        setting = f"{bench.setting}, {arguments.runs} runs of each"
    page = markdown(findings, setting)
    with atomic_file(out / _PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    result = report(findings, setting)
    sys.stdout.write(json.dumps({**result, "table": str(out / _PAGE)}) + "\n" if arguments.json else page)
    return 0 if result["passed"] else 1


def _fresh_folder(out: Path) -> Path:
    """Return the folder to write to, with what an earlier run left there removed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for left in out.iterdir():
            if left.name != _PAGE and not left.name.startswith(FOLDERS):
                raise UserError(f"{left} is not of an earlier run: name another folder with --out")
        for left in out.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}") from error
    return out
