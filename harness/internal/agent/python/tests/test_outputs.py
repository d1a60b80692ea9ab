"""What tests write for people leaves the container, and what plugins print at the end is reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import Suite

import outputs


def age(folder: Path) -> None:
    """Make all files as old as what is unpacked."""
    for path in folder.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))


def test_what_was_written_is_kept(suite: Suite) -> None:
    (suite.folder / "kept").mkdir()
    suite.write(
        old__txt="old",
        test_a="""
        import os
        def test_writes():
            open("new.txt", "w").write("new")
            open("kept/deep.html", "w").write("deep")
            os.symlink("/etc/passwd", "link.txt")
            open("../beside.txt", "w").write("beside")
            os.symlink("..", "up")
        """,
    )
    age(suite.folder)
    run = suite.run(outputs=["*.txt", "kept", "up/*.txt", "../beside.txt", "/etc/hosts", "none"])
    found = {str(path.relative_to(run.out / "outputs")) for path in (run.out / "outputs").rglob("*") if path.is_file()}
    assert found == {"new.txt", "kept/deep.html"} and (run.out / "outputs/new.txt").read_text() == "new"


def test_too_much_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "LIMIT", 10)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/large").write_bytes(b"x" * 11)
    with pytest.raises(outputs.TooLarge, match="large is beyond"):
        outputs.keep(["*"], str(tmp_path / "in"), str(tmp_path))


def test_sections_of_plugins_are_reported(suite: Suite) -> None:
    suite.write(
        conftest="""
        def pytest_terminal_summary(terminalreporter):
            terminalreporter.section("mine")
            terminalreporter.write_line("a line of mine")
        """,
        test_a="def test_fails(): assert 0\n",
    )
    text = suite.run("--durations=1", "-vv").one("sections")["text"]
    assert "= mine =" in text and "a line of mine" in text and "slowest 1 durations" in text
    assert "assert 0" not in text and "short test summary" not in text
    assert not suite.write(conftest="").run().of("sections")
