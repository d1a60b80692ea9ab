"""Proofs of deadlocks: each class that can be proved without Rust is, and nothing that could still go on."""

from __future__ import annotations

import ctypes
import dataclasses
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import AGENT, Suite, Talk

sys.path.insert(0, str(AGENT.parent))

import deadlock
import gil

HOLD = 4.5
"""Seconds that a look-alike lasts: more than twice what a proof takes."""

PROVABLE = """
import ctypes, os, threading, time

def hang_begins():
    with open(os.environ["PYTEST_CURRENT_TEST"].split("::")[1].split()[0] + ".begins", "w") as file:
        file.write(str(time.monotonic()))

def test_lock_taken_twice():
    lock = threading.Lock()
    lock.acquire()
    hang_begins()
    lock.acquire()

def test_late():
    time.sleep(2.2)
    test_lock_taken_twice()

def test_locks_in_two_orders():
    first, second, both = threading.Lock(), threading.Lock(), threading.Barrier(2)
    def take(one, other):
        with one:
            both.wait()
            with other:
                pass
    thread = threading.Thread(target=take, args=(first, second))
    thread.start()
    hang_begins()
    take(second, first)

def test_join_of_a_thread_that_waits_for_us():
    lock = threading.Lock()
    def take():
        with lock:
            pass
    with lock:
        thread = threading.Thread(target=take, name="waiter")
        thread.start()
        hang_begins()
        thread.join()

def test_native_wait_with_the_gil(threads=1):
    wait = ctypes.PyDLL(None).pthread_mutex_lock
    mutex = ctypes.create_string_buffer(64)
    def wants_the_gil():
        while True:
            time.sleep(0.05)
    for _ in range(threads):
        threading.Thread(target=wants_the_gil, daemon=True).start()
    time.sleep(0.1)
    hang_begins()
    wait(mutex)
    wait(mutex)

def test_native_wait_with_the_gil_that_many_want():
    test_native_wait_with_the_gil(40)

def test_native_wait_without_the_gil():
    mutex = ctypes.create_string_buffer(64)
    wait = ctypes.CDLL(None).pthread_mutex_lock
    wait(mutex)
    hang_begins()
    wait(mutex)

def test_condition_and_event_that_nobody_sets():
    condition = threading.Condition()
    thread = threading.Thread(target=threading.Event().wait)
    thread.start()
    with condition:
        hang_begins()
        condition.wait()

def test_idle_workers_do_not_hide_it():
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(abs, range(10)))
        hang_begins()
        pool.submit(lambda: pool.submit(threading.Event().wait).result()).result()

def test_a_child_that_has_ended():
    import subprocess
    subprocess.run(["true"], check=True)
    test_lock_taken_twice()
"""

LOOKALIKES = """
import asyncio, concurrent.futures, ctypes, hashlib, mmap, multiprocessing, os, queue, select, signal, socket
import subprocess, sys, threading, time, zlib
HOLD = %r
libc = ctypes.CDLL(None, use_errno=True)

def later(function, *args):
    threading.Timer(HOLD, function, args).start()

def child(code, *more):
    code = "import os, signal, sys, time\\ntime.sleep(%%r)\\n%%s" %% (HOLD, code)
    return subprocess.Popen([sys.executable, "-c", code, *map(str, more)])

def test_sleep():
    time.sleep(HOLD)

def test_sleep_in_a_thread_that_is_joined():
    thread = threading.Thread(target=time.sleep, args=(HOLD,))
    thread.start()
    thread.join()

def test_select_with_timeout():
    select.select([], [], [], HOLD)

def test_select_without_timeout():
    reading, writing = os.pipe()
    later(os.write, writing, b"x")
    select.select([reading], [], [])

def test_select_that_a_child_ends():
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    code = "import time, os; time.sleep(%%r); os.write(%%d, b'x')" %% (HOLD, writing)
    process = subprocess.Popen([sys.executable, "-c", code], pass_fds=[writing])
    select.select([reading], [], [])
    process.wait()

def test_poll_with_timeout():
    select.poll().poll(HOLD * 1000)

def test_poll_without_timeout():
    reading, writing = os.pipe()
    later(os.write, writing, b"x")
    poll = select.poll()
    poll.register(reading)
    poll.poll()

def test_epoll():
    reading, writing = os.pipe()
    later(os.write, writing, b"x")
    poll = select.epoll()
    poll.register(reading, select.EPOLLIN)
    poll.poll()
    poll.poll(0.1)

def test_receive_and_accept():
    server = socket.create_server(("127.0.0.1", 0))
    code = "import socket; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).send(b'x')"
    process = child(code, server.getsockname()[1])
    connection, _ = server.accept()
    assert connection.recv(1) == b"x"
    process.wait()

def test_receive_from_a_thread():
    one, other = socket.socketpair()
    later(other.send, b"x")
    one.recv(1)

def test_acquire_with_timeout():
    lock = threading.Lock()
    lock.acquire()
    assert not lock.acquire(timeout=HOLD)

def test_condition_with_timeout():
    condition = threading.Condition()
    with condition:
        condition.wait(HOLD)

def test_condition_with_timeout_in_a_thread_that_is_joined():
    thread = threading.Thread(target=test_condition_with_timeout)
    thread.start()
    thread.join()

def test_queue_with_timeout():
    try:
        queue.Queue().get(timeout=HOLD)
    except queue.Empty:
        pass

def test_many_short_timeouts():
    lock, end = threading.Lock(), time.monotonic() + HOLD
    lock.acquire()
    while time.monotonic() < end:
        lock.acquire(timeout=0.005)

def test_native_short_timeouts():
    "As those that want the GIL wait, but elsewhere, and with a thread that waits for ever."
    class Time(ctypes.Structure):
        _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]
    def step():
        condition, mutex = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
        end = time.monotonic() + HOLD
        libc.pthread_mutex_lock(mutex)
        while (now := time.time()) and time.monotonic() < end:
            now += 0.005
            until = Time(int(now), int(now %% 1 * 1e9))
            libc.pthread_cond_timedwait(condition, mutex, ctypes.byref(until))
        done.set()
    done = threading.Event()
    threading.Thread(target=step).start()
    done.wait()

def test_event_with_a_timer():
    event = threading.Event()
    later(event.set)
    event.wait()

class Rung(Exception):
    pass

def ring(*_):
    raise Rung

def wait_for_rung():
    lock = threading.Lock()
    lock.acquire()
    try:
        lock.acquire()
    except Rung:
        return
    raise AssertionError

def test_alarm():
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(int(HOLD) + 1)
    wait_for_rung()

def test_itimer():
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HOLD)
    wait_for_rung()

def test_interval_timer_of_posix():
    "It sends what the interpreter always catches."
    signal.signal(signal.SIGINT, ring)
    timer = ctypes.c_void_p()
    event = (ctypes.c_char * 64)()
    ctypes.memmove(ctypes.addressof(event) + 8, (ctypes.c_int * 2)(signal.SIGINT, 0), 8)
    assert libc.timer_create(1, event, ctypes.byref(timer)) == 0
    spec = (ctypes.c_long * 4)(0, 0, int(HOLD), 0)
    assert libc.timer_settime(timer, 0, spec, None) == 0
    wait_for_rung()

def test_signal_of_another_process():
    signal.signal(signal.SIGUSR1, ring)
    process = child("os.kill(int(sys.argv[1]), signal.SIGUSR1)", os.getpid())
    wait_for_rung()
    process.wait()

def test_interrupt_of_another_process():
    signal.signal(signal.SIGINT, ring)
    process = child("os.kill(int(sys.argv[1]), signal.SIGINT)", os.getpid())
    wait_for_rung()
    process.wait()

def test_interrupt_of_a_process_that_is_nobodys_child():
    signal.signal(signal.SIGINT, ring)
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', *sys.argv[1:]], start_new_session=True)"
    inner = "import os, signal, sys, time; time.sleep(%%r); os.kill(int(sys.argv[1]), signal.SIGINT)" %% HOLD
    subprocess.run([sys.executable, "-c", code, inner, str(os.getpid())], check=True)
    wait_for_rung()

def test_signal_of_a_user_that_is_not_ours():
    signal.signal(signal.SIGRTMIN + 3, ring)
    process = child("os.kill(int(sys.argv[1]), signal.SIGRTMIN + 3)", os.getpid())
    wait_for_rung()
    process.wait()

def test_end_of_a_child_is_a_signal():
    signal.signal(signal.SIGCHLD, ring)
    process = child("")
    wait_for_rung()
    process.wait()

def test_sigwait():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    process = child("os.kill(int(sys.argv[1]), signal.SIGUSR2)", os.getpid())
    signal.sigwait([signal.SIGUSR2])
    process.wait()

def test_subprocess():
    child("").wait()

def test_waitpid_in_a_thread_that_is_joined():
    pid = os.fork()
    if pid == 0:
        time.sleep(HOLD)
        os._exit(0)
    thread = threading.Thread(target=os.waitpid, args=(pid, 0))
    thread.start()
    thread.join()

def test_output_of_a_child():
    code = "import time; time.sleep(%%r); print('x')" %% HOLD
    assert subprocess.check_output([sys.executable, "-c", code]) == b"x\\n"

FORK = multiprocessing.get_context("fork")

def in_child(function, *args):
    def run():
        time.sleep(HOLD)
        function(*args)
    process = FORK.Process(target=run)
    process.start()
    return process

def test_shared_lock():
    lock = FORK.Lock()
    lock.acquire()
    process = in_child(lock.release)
    lock.acquire()
    process.join()

def test_shared_semaphore():
    semaphore = FORK.Semaphore(0)
    process = in_child(semaphore.release)
    semaphore.acquire()
    process.join()

def test_shared_queue():
    shared = FORK.Queue()
    process = in_child(shared.put, 1)
    shared.get()
    process.join()

def test_shared_barrier():
    barrier = FORK.Barrier(2)
    process = in_child(barrier.wait)
    barrier.wait()
    process.join()

def test_futex_in_a_file_of_a_stranger():
    "Only the mapping tells that somebody else can end the wait."
    memory = mmap.mmap(os.open("shared.py", os.O_RDWR), 4096)
    address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    number = ctypes.c_long({"x86_64": 202, "aarch64": 98}[os.uname().machine])
    while not memory[0]:
        libc.syscall(number, address, ctypes.c_long(0), ctypes.c_long(0), None, None, None)

def test_busy():
    end = time.monotonic() + HOLD
    while time.monotonic() < end:
        pass

def test_busy_thread_that_is_joined():
    thread = threading.Thread(target=test_busy)
    thread.start()
    thread.join()

def test_busy_without_the_gil():
    data = bytes(8 << 20)
    def work():
        end = time.monotonic() + HOLD
        while time.monotonic() < end:
            hashlib.sha256(data).digest()
            zlib.compress(data)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

def test_busy_with_the_gil_that_others_want():
    end = time.monotonic() + HOLD
    threads = [threading.Thread(target=test_sleep) for _ in range(5)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        sum(range(1000000))
    for thread in threads:
        thread.join()

def test_gil_handed_to_and_fro():
    end = time.monotonic() + HOLD
    def play():
        while time.monotonic() < end:
            time.sleep(0)
    threads = [threading.Thread(target=play) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def test_native_sleep_with_the_gil_that_another_wants():
    threading.Thread(target=test_many_short_timeouts).start()
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    ctypes.PyDLL(None).usleep(int(HOLD * 1e6))

def test_native_wait_with_the_gil_that_a_native_thread_ends():
    "The thread that can end it wants no GIL and sleeps."
    semaphore = ctypes.create_string_buffer(64)
    libc.sem_init(semaphore, 0, 0)
    threading.Thread(target=test_many_short_timeouts).start()
    class Time(ctypes.Structure):
        _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]
    until = Time(int(time.time() + HOLD) + 1, 0)
    ctypes.PyDLL(None).sem_timedwait(semaphore, ctypes.byref(until))

def test_ping_pong():
    there, back = threading.Semaphore(0), threading.Semaphore(0)
    end = time.monotonic() + HOLD
    def answer():
        while time.monotonic() < end:
            there.acquire()
            back.release()
    thread = threading.Thread(target=answer)
    thread.start()
    while time.monotonic() < end:
        there.release()
        back.acquire()
    there.release()
    thread.join()

def test_idle_loop_with_a_timer():
    asyncio.run(asyncio.sleep(HOLD))

def test_loop_in_a_thread():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(HOLD), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()

def test_slow_worker():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert pool.submit(time.sleep, HOLD).result() is None

def test_slow_worker_process():
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=FORK) as pool:
        assert pool.submit(time.sleep, HOLD).result() is None

def test_stopped_and_continued():
    lock = threading.Lock()
    lock.acquire()
    def let_go():
        time.sleep(HOLD)
        lock.release()
    threading.Thread(target=let_go).start()
    code = "import os, signal, sys, time; os.kill(int(sys.argv[1]), signal.SIGSTOP); time.sleep(float(sys.argv[2]))"
    code += "; os.kill(int(sys.argv[1]), signal.SIGCONT)"
    process = subprocess.Popen([sys.executable, "-c", code, str(os.getpid()), str(HOLD)])
    lock.acquire()
    process.wait()

def test_short_waits_one_after_the_other():
    end = time.monotonic() + HOLD
    while time.monotonic() < end:
        event = threading.Event()
        threading.Timer(0.4, event.set).start()
        event.wait()

def test_debugger_or_other_reader():
    event = threading.Event()
    later(event.set)
    with open("/proc/self/mem", "rb"):
        event.wait()
"""


IN_PROCESS = """
import os, signal, threading, time

def test_timer():
    event = threading.Event()
    threading.Timer(%r, event.set).start()
    event.wait()

def test_interrupt_of_a_process_that_is_nobodys_child():
    parent = os.getpid()
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(%r)
            os.kill(parent, signal.SIGINT)
        os._exit(0)
    os.wait()
    with open("/proc/self/task/%%d/children" %% os.getpid()) as file:
        assert file.read() == ""
    lock = threading.Lock()
    lock.acquire()
    try:
        lock.acquire()
    except KeyboardInterrupt:
        pass

def test_hangs(lock=threading.Lock()):
    lock.acquire()
    lock.acquire()
"""


def kill_what_is_proved(talk: Talk, event: dict[str, Any]) -> None:
    """What the Go side does, without the stacks."""
    if event["ev"] == "deadlock":
        talk.say(cmd="kill", pid=event["pid"], reason="hung", message="a deadlock")


@pytest.fixture
def one_suite(tmp_path: Path) -> Suite:
    """With one Python: it is about that of the agent's kernel and not about pytest."""
    return Suite(tmp_path / "suite", sys.executable)


def test_what_can_be_proved(one_suite: Suite) -> None:
    """Each hang is proved within seconds, and no thread of it is left out."""
    run = one_suite.write(test_a=PROVABLE).run(on=kill_what_is_proved, workers=5)
    names = [e["nodeid"].partition("::")[2] for e in run.of("item")]
    assert sorted(e["index"] for e in run.of("deadlock")) == list(range(len(names))), run.log
    seconds = {}
    for name in names:
        proof = run.one("deadlock", index=run.index("::" + name))
        seconds[name] = proof["t"] - float((one_suite.folder / f"{name}.begins").read_text())
        lines = proof["text"].splitlines()
        assert len(lines) == 1 + proof["threads"] and f"thread {proof['pid']} " in proof["text"]
        assert run.finish("::" + name)["killed"] == "hung"
    print(seconds)
    assert max(seconds.values()) < 3 + 2, seconds  # a busy machine
    many = run.one("deadlock", index=run.index("that_many_want"))
    assert many["threads"] == 41 and many["text"].count("wants the GIL") == 40
    assert run.one("deadlock", index=run.index("two_orders"))["threads"] == 2


def test_nothing_else_is_proved(one_suite: Suite) -> None:
    """Whatever looks like a deadlock and is none passes."""
    one_suite.write(test_a=LOOKALIKES % HOLD, shared="\0" * 4096)
    with open(one_suite.folder / "shared.py", "r+b") as file:
        memory = mmap.mmap(file.fileno(), 4096)

    def stranger(talk: Talk, event: dict[str, Any]) -> None:
        started = [e["t"] for e in talk.events if e["ev"] == "start"]
        if event["ev"] == "beat" and started and event["t"] - started[-1] > HOLD:
            memory[0] = 1
            word = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
            number = ctypes.c_long(deadlock.FUTEX[os.uname().machine])
            ctypes.CDLL(None).syscall(number, word, ctypes.c_long(1), ctypes.c_long(1), None, None, None)

    run = one_suite.run(workers=60, on=stranger)
    assert run.of("deadlock") == []
    assert set(run.verdicts().values()) == {"passed"}, (run.verdicts(), run.log)
    shortest = min((e["duration"], e["index"]) for e in run.of("finish"))
    assert shortest[0] >= 4, (shortest, run.log)


def test_in_pytests_own_process(one_suite: Suite) -> None:
    """Look-alikes first, then a hang."""
    run = one_suite.write(test_a=IN_PROCESS % (HOLD, HOLD)).run(isolation="inprocess", on=kill_what_is_proved)
    proof = run.one("deadlock", index=run.index("test_hangs"))
    assert proof["pid"] == run.one("started")["pid"] and proof["after"] < 3 + 2
    assert [e["index"] for e in run.of("finish")] == [0, 1] and run.one("exit")["signal"] == 9


def test_it_can_be_switched_off(one_suite: Suite) -> None:
    def on(talk: Talk, event: dict[str, Any]) -> None:
        if event["ev"] == "beat":
            started = [e for e in talk.events if e["ev"] == "start"]
            if started and event["t"] - started[0]["t"] > HOLD:
                talk.say(cmd="kill", pid=started[0]["pid"], reason="hung", message="over its time")

    text = "def test_1():\n    import threading\n    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()\n"
    run = one_suite.write(test_a=text).run(on=on, no_deadlock_proof=True)
    assert run.of("deadlock") == [] and run.finish("test_1")["killed"] == "hung"


# The core, without a process

STATUS = (
    "Name:\tpython\nState:\tS (sleeping)\nTracerPid:\t0\nThreads:\t1\nSigPnd:\t0000000000000000\n"
    "ShdPnd:\t0000000000000000\nSigCgt:\t0000800100000002\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n"
)
STAT = "12 (a) b) S 1 12 12 0 -1 0 0 0 0 0 5 6 0 0 20 0 1 0 4711 0"
SYSCALL = "202 0x7f0000001000 0x80 0x2 0x0 0x0 0x0 0x7ffc75437ae8 0x7f43ed4a412b"
SPACE = [
    gil.Mapping(0x7F0000000000, 0x7F0000002000, "rw-p", 0, ""),
    gil.Mapping(0x7F0000002000, 0x7F0000003000, "rw-s", 0, "/dev/zero (deleted)"),
    gil.Mapping(0x7F0000003000, 0x7F0000004000, "r--p", 0, "/usr/lib/x.so"),
    gil.Mapping(0x7F0000004000, 0x7F0000005000, "rw-p", 0, "/usr/lib/libpython3.11.so.1.0"),
]
RUNTIMES = [range(0x7F0000004000, 0x7F0000004800)]


def made(stat: str = STAT, status: str = STATUS, syscall: str = SYSCALL) -> deadlock.Thread:
    return deadlock.thread(12, stat.encode(), status.encode(), syscall.encode(), 202, 48)


def test_a_thread_that_waits() -> None:
    assert made() == deadlock.Thread(12, 4711, "python", (7, 2, 5, 6), 0x7F0000001000, False)
    assert made(syscall=SYSCALL.replace("0x80 0x2 0x0", "0x189 0x2 0x7ffc00001000")).timed


@pytest.mark.parametrize(
    "files",
    [
        {"syscall": "running"},
        {"syscall": "-1 0x7ffc75437ae8 0x7f43ed4a412b"},
        {"syscall": SYSCALL.replace("202", "7")},
        {"syscall": SYSCALL.replace("0x80", "0x86")},  # FUTEX_LOCK_PI
        {"syscall": SYSCALL.replace("0x80", "0x8b")},  # FUTEX_WAIT_REQUEUE_PI
        {"stat": STAT.replace(") S", ") T")},
        {"stat": STAT.replace(") S", ") D")},
        {"stat": STAT.replace(") S", ") R")},
        {"status": STATUS.replace("S (sl", "t (tr")},
        {"status": STATUS.replace("TracerPid:\t0", "TracerPid:\t9")},
        {"status": STATUS.replace("SigPnd:\t0000", "SigPnd:\t0001")},
        {"status": STATUS.replace("ShdPnd:\t0000", "ShdPnd:\t1000")},
        *({"status": STATUS.replace("0000800100000002", f"{1 << (number - 1):016x}")} for number in
          (1, 3, 5, 10, 12, 13, 14, 15, 17, 18, 20, 23, 24, 26, 27, 29, 31, 34, 47, 49, 64)),
    ],
)  # fmt: skip
def test_a_thread_that_may_move(files: dict[str, str]) -> None:
    with pytest.raises(deadlock.Moving):
        made(**files)


@pytest.mark.parametrize("number", [2, 4, 6, 7, 8, 11, 28, 32, 33, 48])
def test_handlers_that_do_no_harm(number: int) -> None:
    assert made(status=STATUS.replace("0000800100000002", f"{1 << (number - 1):016x}")).tid == 12


BLOCKED = made()
WANTS = dataclasses.replace(BLOCKED, tid=13, address=0x7F0000004028, timed=True)
HELD = gil.Gil(5000, 0x7F0000001230, 1, 99)


def looks(*threads: deadlock.Thread, held: gil.Gil | None = None) -> list[deadlock.Look]:
    return [deadlock.Look(when, threads, held) for when in (10.0, 10.5, 11.0, 11.6)]


def test_proofs() -> None:
    text = deadlock.prove(looks(BLOCKED), SPACE, [])
    assert text is not None and "thread 12 'python' waits without a time-out" in text and "0x7f0000001000" in text
    seen = looks(BLOCKED, WANTS, held=HELD)
    seen[2] = dataclasses.replace(seen[2], threads=(BLOCKED, dataclasses.replace(WANTS, ran=(99, 2, 5, 6))))
    text = deadlock.prove(seen, SPACE, RUNTIMES)
    assert text is not None and "thread 13 'python' wants the GIL" in text and "libpython3.11.so.1.0" in text


def changed(at: int, threads: tuple[deadlock.Thread, ...] = (BLOCKED, WANTS), held: gil.Gil | None = HELD) -> Any:
    seen = looks(BLOCKED, WANTS, held=HELD)
    seen[at] = deadlock.Look(seen[at].when, threads, held)
    return seen


@pytest.mark.parametrize(
    "seen",
    [
        [],
        looks(BLOCKED)[:2],
        looks(BLOCKED)[:3],  # too short
        looks(),
        looks(WANTS, held=HELD),  # who holds it?
        looks(BLOCKED, WANTS),
        looks(BLOCKED, WANTS, held=dataclasses.replace(HELD, locked=0)),
        looks(BLOCKED, dataclasses.replace(WANTS, address=0x7F0000001000), held=HELD),
        looks(BLOCKED, WANTS, dataclasses.replace(WANTS, tid=14, address=0x7F0000004020), held=HELD),
        looks(dataclasses.replace(BLOCKED, address=0x7F0000002100)),  # shared
        looks(dataclasses.replace(BLOCKED, address=0x7F0000003100)),  # only read
        looks(dataclasses.replace(BLOCKED, address=0x1000)),  # nowhere
        changed(3, held=dataclasses.replace(HELD, switches=100)),
        changed(3, held=dataclasses.replace(HELD, holder=0x7F0000001238)),
        changed(1, held=None),
        changed(3, threads=(BLOCKED,)),
        changed(3, threads=(dataclasses.replace(BLOCKED, ran=(8, 2, 5, 6)), WANTS)),
        changed(3, threads=(dataclasses.replace(BLOCKED, ran=(7, 2, 5, 7)), WANTS)),
        changed(2, threads=(dataclasses.replace(BLOCKED, address=0x7F0000001008), WANTS)),
        changed(3, threads=(dataclasses.replace(BLOCKED, started=4712), WANTS)),
        changed(3, threads=(BLOCKED, dataclasses.replace(WANTS, started=4712))),
        changed(3, threads=(BLOCKED, dataclasses.replace(WANTS, timed=False))),
    ],
)
def test_no_proof(seen: list[deadlock.Look]) -> None:
    assert deadlock.prove(seen, SPACE, RUNTIMES) is None


class Told(deadlock.Process):
    """A process that is as a list says; an exception in it is raised."""

    def __init__(self, story: list[Any], outside: list[Any] | None = None) -> None:
        super().__init__(os.getpid())
        self.story, self.outside = story, outside or []
        self.runtimes = RUNTIMES

    def look(self, when: float) -> deadlock.Look:
        now = self.story.pop(0)
        if isinstance(now, Exception):
            raise now
        return deadlock.Look(when, now, HELD)

    def check_outside(self) -> None:
        if self.outside:
            raise self.outside.pop(0)


def proofs(process: Told, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When there was a proof."""
    monkeypatch.setattr(gil, "mappings", lambda pid: SPACE)
    watch = deadlock.Watch(48, lambda pid, own: process)
    watch.begin(3, 12, 0.0)
    found, now = [], 0.0
    while process.story and watch.pause(now) != float("inf"):
        now += watch.pause(now)
        found += [now for _ in watch.step(now)]
    return found


def running(tid: int) -> deadlock.Moving:
    moving = deadlock.Moving("runs")
    moving.tid = tid
    return moving


def test_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    still, moved = (BLOCKED, WANTS), (dataclasses.replace(BLOCKED, ran=(8, 0, 0, 0)), WANTS)
    assert proofs(Told([still] * 9), monkeypatch) == [2.0]
    assert proofs(Told([still, still, moved, *[moved] * 9]), monkeypatch) == [3.0]
    # One that wants the GIL is just looking at it; the same of another thread means that it has moved.
    assert proofs(Told([still, running(13), still, still, still, still]), monkeypatch) == [pytest.approx(2.1)]
    assert proofs(Told([still, running(12), *[still] * 9]), monkeypatch) == [pytest.approx(3.0)]
    assert proofs(Told([still] * 20, [deadlock.Moving("a child process lives")]), monkeypatch) == [4.0]
    assert proofs(Told([PermissionError(), *[still] * 9]), monkeypatch) == []
    assert proofs(Told([FileNotFoundError(), *[still] * 9]), monkeypatch) == [2.5]


def test_the_gil_is_found_in_this_python() -> None:
    """In a Python of its own, stopped where it holds the GIL."""
    code = (
        "import ctypes, threading, time\n"
        "m, f = ctypes.create_string_buffer(64), ctypes.PyDLL(None).pthread_mutex_lock\n"
        "threading.Thread(target=lambda: [time.sleep(0.01) for _ in range(10**6)], daemon=True).start()\n"
        "f(m); f(m)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        time.sleep(1)
        process = deadlock.Process(child.pid)
        look = retried(process)
        assert [each.timed for each in look.threads] == [False, True]
        assert look.gil is not None and look.gil.interval == 5000 and look.gil.locked == 1
        assert deadlock.same(look, retried(process))
    finally:
        child.kill()
        child.wait()


def retried(process: deadlock.Process) -> deadlock.Look:
    """A look that no thread spoiled."""
    for _ in range(100):
        try:
            return process.look(0.0)
        except deadlock.Moving as moving:
            assert moving.tid
            time.sleep(0.003)
    raise AssertionError("always running")
