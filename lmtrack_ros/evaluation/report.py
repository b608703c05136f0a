"""Reports of evaluations: a table on the terminal and a page with a figure for the documentation."""

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from lmtrack_ros.evaluation import clust
from lmtrack_ros.evaluation.overlay import atomic_file

_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("te_mean_mm", "mean mm", "{:.2f}"),
    ("te_p95_mm", "95 % mm", "{:.2f}"),
    ("te_max_mm", "max mm", "{:.1f}"),
    ("lost_fraction", "lost", "{:.1%}"),
    ("te_mean_with_lost_mm", "with lost mm", "{:.2f}"),
    ("jumps", "jumps", "{}"),
    ("tracked_beyond_3mm", "TRACKED > 3 mm", "{}"),
    ("coverage95", "in radius", "{:.1%}"),
    ("radius_median_mm", "radius mm", "{:.2f}"),
    ("tracked_fraction", "TRACKED", "{:.1%}"),
    ("tracked_off_path_fraction", "off path", "{:.1%}"),
)

_ON_TERMINAL = {
    "te_mean_mm",
    "te_p95_mm",
    "te_max_mm",
    "lost_fraction",
    "jumps",
    "coverage95",
    "tracked_fraction",
}

Report = Mapping[str, Any]


def _cells(figures: Report, keys: Container[str] | None) -> list[str]:
    return [
        "–" if figures[key] is None else form.format(figures[key])
        for key, _, form in _COLUMNS
        if keys is None or key in keys
    ]


def _rows(reports: Sequence[Report], keys: Container[str] | None = None) -> list[list[str]]:
    """Return the cells of each landmark and of all together: tracker, landmark, figures, speed."""
    rows = []
    for report in reports:
        for landmark, figures in report["per_landmark"].items():
            rows.append([report["tracker"], landmark, *_cells(figures, keys), ""])
        rows.append([report["tracker"], "all", *_cells(report, keys), f"{report['fps']:.0f}"])
    return rows


def table(reports: Sequence[Report]) -> Table:
    """Return the main figures of one sequence as a table for the terminal."""
    result = Table(title=reports[0]["sequence"])
    result.add_column("tracker", no_wrap=True)
    result.add_column("landmark", no_wrap=True)
    for key, heading, _ in _COLUMNS:
        if key in _ON_TERMINAL:
            result.add_column(heading, justify="right", min_width=5)
    result.add_column("frames/s", justify="right", min_width=5)
    for row in _rows(reports, _ON_TERMINAL):
        result.add_row(*row, end_section=row[1] == "all")
    return result


def clust_table(tracker: str, scores: Sequence[clust.LandmarkScore]) -> Table:
    """Return one tracker's table of the CLUST challenge for the terminal."""
    result = Table(title=tracker)
    for heading in clust.HEADINGS:
        result.add_column(heading, justify="left" if heading == clust.HEADINGS[0] else "right")
    for row in clust.rows(scores):
        result.add_row(*row)
    return result


def write_page(path: Path, by_sequence: Sequence[Sequence[Report]], command: str) -> None:
    """Write a Markdown page with one table per sequence.

    Args:
        path: .md file.
        by_sequence: for each sequence the reports of its trackers.
        command: that makes this page.

    Raises:
        UserError: the file cannot be written.
    """
    lines = [
        "# Figures of `lmtrack evaluate`",
        "",
        f"Made by `{command}`; do not edit.",
        "",
        "Errors in mm over certain frames. *lost*, *in radius* (share of the errors within the reported",
        "95 % radius), *jumps* (the error changes by more than 3 mm between successive frames) and",
        "*TRACKED > 3 mm* (errors above 3 mm reported as sure) are over the same frames; *TRACKED* and",
        "*off path* (TRACKED and more than 3 mm from the track's own smooth path) over all frames.",
        "`lmtrack_ros/evaluation/metrics.py` defines them.",
    ]
    for reports in by_sequence:
        headings = ["tracker", "landmark", *(heading for _, heading, _ in _COLUMNS), "frames/s"]
        lines += [
            "",
            f"## {reports[0]['sequence']}",
            "",
            f"| {' | '.join(headings)} |",
            f"|{'---|' * 2}{'--:|' * (len(headings) - 2)}",
        ]
        lines += [f"| {' | '.join(row)} |" for row in _rows(reports)]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
