"""Tests that wait for seconds as a deadlock would, and then continue. A suite for test_deadlock.py."""

import asyncio
import concurrent.futures
import ctypes
import hashlib
import mmap
import multiprocessing
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib

HOLD = float(os.environ["HOLD"])
libc = ctypes.CDLL(None, use_errno=True)


def later(function, *args):
    threading.Timer(HOLD, function, args).start()


def child(code, *more):
    code = f"import os, signal, sys, time\ntime.sleep({HOLD})\n{code}"
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
    code = f"import time, os; time.sleep({HOLD}); os.write({writing}, b'x')"
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
    "As those that want the GIL wait, but elsewhere, and with a thread that waits forever."

    class Time(ctypes.Structure):
        _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]

    def step():
        condition, mutex = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
        end = time.monotonic() + HOLD
        libc.pthread_mutex_lock(mutex)
        while (now := time.time()) and time.monotonic() < end:
            now += 0.005
            until = Time(int(now), int(now % 1 * 1e9))
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


def pause_until_rung():
    try:
        signal.pause()
    except Rung:
        return
    raise AssertionError


def test_pause_that_an_alarm_ends():
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HOLD)
    pause_until_rung()


def test_pause_that_a_child_ends():
    signal.signal(signal.SIGINT, ring)
    process = child("os.kill(int(sys.argv[1]), signal.SIGINT)", os.getpid())
    pause_until_rung()
    process.wait()


def test_pause_in_a_thread_beside_one_that_works():
    signal.signal(signal.SIGUSR1, ring)
    thread = threading.Thread(target=signal.pthread_kill, args=(threading.get_ident(), signal.SIGUSR1))
    later(thread.start)
    pause_until_rung()


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
    inner = f"import os, signal, sys, time; time.sleep({HOLD}); os.kill(int(sys.argv[1]), signal.SIGINT)"
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
    code = f"import time; time.sleep({HOLD}); print('x')"
    assert subprocess.check_output([sys.executable, "-c", code]) == b"x\n"


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


def test_busy_threads_that_take_turns():
    "Each is seen to wait for the GIL at times, and the main thread waits for all."
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=test_busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
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
