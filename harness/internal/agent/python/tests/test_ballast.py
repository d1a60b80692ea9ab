"""Filling the memory of a container."""

from __future__ import annotations

from pathlib import Path

import pytest

import ballast


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 500\nfile 150\nshmem 40\n"}, 410),
        ({"memory.max": "max", "memory.current": "700", "memory.stat": "file 150\n"}, None),
        (
            {
                "memory/memory.limit_in_bytes": "1000",
                "memory/memory.usage_in_bytes": "700",
                "memory/memory.stat": "cache 1\ntotal_cache 100\ntotal_shmem 30\ntotal_rss 600\n",
            },
            370,
        ),
        ({"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "7"}, None),
        ({}, None),
    ],
    ids=["version 2", "2 without a limit", "version 1", "1 without a limit", "no cgroup"],
)
def test_left(tmp_path: Path, files: dict[str, str], free: int | None) -> None:
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert ballast.left(tmp_path) == free


def test_adjust() -> None:
    held: list[bytes] = []
    assert ballast.adjust(held, ballast.MARGIN + 3 * ballast.STEP)
    assert len(held) == 1
    assert not ballast.adjust(held, ballast.MARGIN + ballast.STEP // 2), "enough is left, and not too much"
    assert ballast.adjust(held, ballast.MARGIN - 1), "the test needs more"
    assert not held
    assert not ballast.adjust(held, 0), "there is nothing to give back"
