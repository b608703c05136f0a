"""Drop include directories of the machine that built the ROS wheels from their CMake exports.

CMake refuses an imported target whose include directory does not exist; the wheels name some
under /opt/python. Run with the interpreter of the virtual environment that holds the wheels.
"""

import re
import sys
from pathlib import Path

INCLUDES = re.compile(r'(INTERFACE_INCLUDE_DIRECTORIES ")([^"]*)(")')


def existing_only(match: re.Match[str]) -> str:
    """Return the property with only the directories that are there or are relative to the prefix."""
    directories = match[2].split(";")
    kept = [d for d in directories if not d.startswith("/") or Path(d).is_dir()]
    return match[1] + ";".join(kept) + match[3]


def main() -> None:
    """Rewrite the exports below sys.prefix that need it."""
    for export in Path(sys.prefix, "share").glob("*/cmake/*Export.cmake"):
        text = export.read_text()
        relocated = INCLUDES.sub(existing_only, text)
        if relocated != text:
            export.write_text(relocated)


if __name__ == "__main__":
    main()
