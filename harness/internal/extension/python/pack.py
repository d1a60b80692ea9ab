"""Write what a build made to standard output, as a tar archive of files by their path in the container.

That is what it left in the sources, and what the wheel of one distribution, the only argument, has put into the test
environment. Links are followed.
"""

from __future__ import annotations

import csv
import os
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from common import BUILT, VENV, walk


def built(distribution: str) -> set[Path]:
    """Return the files that a build made. Compiled Python is left out: it is made again when it is imported."""
    found = {path for path in walk(BUILT / "tree") if path.is_file()}
    for record in (VENV / "lib").glob(f"python*/site-packages/{distribution}-*.dist-info/RECORD"):
        for row in csv.reader(record.read_text().splitlines()):
            path = Path(os.path.normpath(record.parent.parent / row[0])) if row else record
            if path.is_file() and VENV in path.parents:
                found.add(path)
    return {path for path in found if path.suffix != ".pyc"}


def main() -> None:
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", dereference=True) as archive:
        for path in sorted(built(sys.argv[1])):
            archive.add(path, str(path).lstrip("/"), recursive=False)


if __name__ == "__main__":
    main()
