"""The command: `corf ...` and `python -m corf ...`."""

from __future__ import annotations

import os
import pathlib
import sys


def main() -> None:
    command = pathlib.Path(__file__).parent / "corf"
    os.execv(command, ["corf", *sys.argv[1:]])


if __name__ == "__main__":
    main()
