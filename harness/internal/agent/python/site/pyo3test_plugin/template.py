"""The template: a process that has imported pytest and nothing of the project, and forks a child for each test.

It has one thread, and serves requests that come over a socket. The first message is the world as pytest found it: its
path, arguments and settings. Each later one asks for a child, and brings the child's descriptors. The answers are the
child's pid and, later, how it ended.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
from typing import Any, NoReturn

from . import linux
from .template_child import SingleTest

LIMIT = 1 << 18
"""Maximum bytes of a message; the longest node ids seen have ten thousand characters."""
FDS = 4


def serve(fd: int) -> NoReturn:
    """Fork the requested children until pytest is gone."""
    sock = socket.socket(fileno=linux.move_high(fd))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if a conftest ignores it, we inherit that
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # pytest decides what a Ctrl-C does
    linux.allow_tracing()
    world = json.loads(sock.recv(LIMIT))
    sys.path[:], sys.argv[:] = world["path"], world["argv"]
    _import_pytest()
    selector = selectors.DefaultSelector()
    selector.register(sock, selectors.EVENT_READ)
    children: dict[int, int] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is not sock:
                _tell_end(sock, selector, children, key.fd)
                continue
            request, fds, _, _ = socket.recv_fds(sock, LIMIT, FDS)
            if not request:
                _leave(children)
            try:
                pid = os.fork()
            except OSError as error:
                sock.send(json.dumps({"errno": error.errno, "error": str(error)}).encode())
            else:
                if pid == 0:
                    sock.close()
                    selector.close()
                    for pidfd in children:
                        os.close(pidfd)
                    _run(world, json.loads(request), fds)
                pidfd = os.pidfd_open(pid)
                children[pidfd] = pid
                selector.register(pidfd, selectors.EVENT_READ)
                sock.send(json.dumps({"pid": pid}).encode())
            for each in fds:
                os.close(each)


def _import_pytest() -> None:
    """Import what every child would import. Other plugins are left alone: pytest rewrites them as it loads them."""
    import _pytest
    import pytest  # noqa: F401

    for module in pkgutil.iter_modules(_pytest.__path__):
        try:
            importlib.import_module(f"_pytest.{module.name}")
        except Exception:  # a module for another system
            pass
    importlib.import_module(f"{__package__}.hooks")
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, every page


def _tell_end(sock: socket.socket, selector: selectors.BaseSelector, children: dict[int, int], pidfd: int) -> None:
    pid = children.pop(pidfd)
    selector.unregister(pidfd)
    os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    sock.send(json.dumps({"ended": pid, "status": status}).encode())


def _leave(children: dict[int, int]) -> NoReturn:
    for pid in children.values():
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _run(world: dict[str, Any], request: dict[str, Any], fds: list[int]) -> NoReturn:
    """In the child: do what `python -m pytest` with the same arguments does, for one test."""
    os.setpgid(0, 0)
    linux.allow_tracing()
    linux.adopt_orphans()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    hooks = importlib.import_module(f"{__package__}.hooks")
    single = SingleTest(request, *fds)
    try:
        hooks.begin_single_test(world["settings"], single)
        import pytest

        status = pytest.main(world["argv"][1:])
        single.fail(f"pytest ended with status {int(status)} before it ran the test")
    except BaseException as error:
        single.fail(f"pytest ended before it ran the test: {type(error).__name__}: {error}")
    finally:
        os._exit(71)
