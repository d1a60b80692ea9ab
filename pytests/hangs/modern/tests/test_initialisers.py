"""Values that are made once."""

import sys
import threading
from pathlib import Path

import hangs
import pytest


def test_first() -> None:
    assert True


def test_lazy_gil() -> None:
    hangs.lazy_gil()


def test_lazy_reentrant() -> None:
    hangs.lazy_reentrant()


def test_import_that_waits_for_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module joins a thread that imports the module: it waits for the import lock."""
    (tmp_path / "half_imported.py").write_text(
        "import threading\n\nthread = threading.Thread(target=__import__, args=(__name__,), daemon=True)\n"
        "thread.start()\nthread.join()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert threading.active_count() == 1 and "half_imported" not in sys.modules
    __import__("half_imported")  # hangs here: import-lock


def test_last() -> None:
    assert True
