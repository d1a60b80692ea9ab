"""Waits for another process, and for the network."""

import multiprocessing
import socket
import subprocess
import sys

import hangs
import pytest


def test_first() -> None:
    assert True


@pytest.mark.timeout(15 if sys.version_info >= (3, 14) else 3)  # a fork server has to start before
def test_multiprocessing_child() -> None:
    child = multiprocessing.Process(target=hangs.native_park)
    child.start()
    child.join()  # hangs here: multiprocessing


def test_multiprocessing_pool() -> None:
    """The pool waits for a result that comes never: its worker died."""
    with multiprocessing.Pool(1) as pool:
        pool.apply(hangs.abort)  # hangs here: multiprocessing-pool


def test_child_process() -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        child.wait()  # hangs here: child-process


def test_output_of_a_child_process() -> None:
    """The child is gone; a grandchild holds its standard output."""
    subprocess.run(["sh", "-c", "sleep 1000 &"], check=False, stdout=subprocess.PIPE)  # hangs here: child-output


def test_accept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.accept()  # hangs here: network-accept


def test_recv() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.recv(1)  # hangs here: network-recv


def test_last() -> None:
    assert True
