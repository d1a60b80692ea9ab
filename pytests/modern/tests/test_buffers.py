"""Memory shared in both directions."""

import array
import mmap
import zlib
from pathlib import Path

import modern
import pytest


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, modern.Blob])
def test_checksum_of_whatever_lends_bytes(kind: type) -> None:
    data = bytes(range(256)) * 40
    assert modern.checksum(kind(data)) == zlib.adler32(data)


def test_checksum_follows_strides() -> None:
    assert modern.checksum(memoryview(b"a-b-c-")[::2]) == zlib.adler32(b"abc")


def test_checksum_of_a_mapped_file(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"modern" * 1000)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert modern.checksum(mapped) == zlib.adler32(file.read_bytes())


def test_scale_writes_to_the_callers_memory() -> None:
    values = array.array("d", [1, 2.5, -3])
    modern.scale(values, 2)
    assert values.tolist() == [2, 5, -6]


def test_scale_refuses_other_items_and_read_only_memory() -> None:
    with pytest.raises(BufferError):
        modern.scale(array.array("f", [1]), 2)
    with pytest.raises(BufferError):
        modern.scale(memoryview(array.array("d", [1])).toreadonly(), 2)


def test_a_lent_array_cannot_be_resized() -> None:
    data = bytearray(b"abc")
    view = memoryview(data)
    assert modern.checksum(view) == zlib.adler32(b"abc")
    with pytest.raises(BufferError):
        data.append(1)
    view.release()
    data.append(1)


def test_reverse() -> None:
    assert modern.reverse(b"\x00abc") == b"cba\x00"


def test_blob_lends_read_only_and_outlives_its_name() -> None:
    view = memoryview(modern.Blob(b"lent"))
    assert view.readonly
    assert bytes(view) == b"lent"
