"""The pressure on a test: what is delayed, when, and that nothing else changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import conftest
import pytest
from conftest import Suite, hang_killer

SOURCE = Path(__file__).resolve().parent.parent.parent / "pressure" / "pressure.c"
SETTINGS: dict[str, Any] = {
    "test": "test_a.py::test_it",
    "seed": 1,
    "calls": 1.0,
    "code": 0.0,
    "share": 0.0,
    "directed": [],
    "longest": 0.01,
    "budget": 5.0,
    "switch_interval": 0.0,
    "garbage": False,
    "one_processor": False,
    "load": 0,
    "memory": False,
}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library, as the tools image does."""
    made = tmp_path_factory.mktemp("pressure") / "libpressure.so"
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o", made, SOURCE], check=True)
    return made


@pytest.fixture
def beside(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the agent from a folder that has the library too."""
    home = tmp_path / "agent"
    shutil.copytree(conftest.AGENT.parent, home, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    shutil.copy(library, home)
    monkeypatch.setattr(conftest, "AGENT", home / "agent.py")
    yield


THREADS = """
    import queue
    import threading

    def work():
        asked, answered = queue.Queue(), queue.Queue()
        thread = threading.Thread(target=lambda: [answered.put(asked.get() + 1) for _ in range(20)])
        thread.start()
        for number in range(20):
            asked.put(number)
            assert answered.get() == number + 1
        thread.join()

    def test_other():
        work()

    def test_it():
        work()
"""


@pytest.mark.parametrize("isolation", ["forked", "inprocess", "subprocess"])
def test_calls_are_delayed_and_counted(suite: Suite, beside: None, isolation: str) -> None:
    """Threads that exchange messages are delayed at locks or semaphores."""
    run = suite.write(test_a=THREADS).run(isolation=isolation, pressure=SETTINGS)
    assert run.reports("test_it") == [("setup", "passed"), ("call", "passed"), ("teardown", "passed")]
    delays = run.one("delays")
    assert delays["slept"] > 0 and delays["lost"] == 0
    kinds = {site["kind"] for site in delays["sites"]}
    assert {"pthread_mutex_lock", "pthread_create", "thread start"} <= kinds and "code" not in kinds
    assert sum(site["slept"] for site in delays["sites"]) == pytest.approx(delays["slept"])
    assert not (run.out / "pressure.board").exists()


def test_only_the_test_is_under_pressure(suite: Suite, beside: None) -> None:
    """Other tests, the collection and the reports are not delayed."""
    run = suite.write(test_a=THREADS).run(pressure={**SETTINGS, "test": "test_a.py::test_none"})
    assert run.reports("test_it")[1] == ("call", "passed")
    nothing = {"sites": [], "slept": 0, "timed": 0, "lost": 0, "full": False}
    assert run.one("delays") | {"t": 0} == {"ev": "delays", "t": 0, **nothing}


def test_without_pressure_nothing_is_loaded(suite: Suite, beside: None) -> None:
    """A usual run does not even have the library."""
    run = suite.write(
        test_a="""
        import os

        def test_it():
            assert "LD_PRELOAD" not in os.environ and "PYO3TEST_PRESSURE" not in os.environ
            assert "libpressure.so" not in open("/proc/self/maps").read()
        """
    ).run()
    assert run.report("test_it")["outcome"] == "passed" and not run.of("delays")


def test_the_budget_bounds_the_delays(suite: Suite, beside: None) -> None:
    """A test with very many locks is delayed by the budget and a quarter of its own time at most."""
    run = suite.write(
        test_a="""
        import threading
        import time

        def test_it():
            began = time.monotonic()
            for _ in range(3000):
                thread = threading.Thread(target=int)
                thread.start()
                thread.join()
            print("took", time.monotonic() - began)
        """
    ).run(pressure={**SETTINGS, "budget": 0.2})
    took = float(run.report("test_it", "call")["sections"][0][1].split()[1])
    assert 0.2 <= run.one("delays")["slept"] < 0.2 + took / 4 + 0.1


def test_waits_with_a_time_limit_are_seen(suite: Suite, beside: None) -> None:
    """Delays may break a test that has time limits, so they are counted; Python's own for the GIL are not."""
    run = suite.write(
        test_a="""
        import threading

        def test_it():
            threading.Event().wait(0.01)
        """
    ).run(pressure=SETTINGS)
    assert run.one("delays")["timed"] >= 1
    run = suite.write(test_a=THREADS).run(pressure=SETTINGS)
    assert run.one("delays")["timed"] == 0


def test_the_conditions(suite: Suite, beside: None) -> None:
    """They hold in the test's setup and call, and nowhere else."""
    conditions = {"switch_interval": 0.001, "garbage": True, "one_processor": True, "load": 2}
    run = suite.write(
        test_a="""
        import gc
        import os
        import sys
        import pytest

        def conditions():
            return len(os.sched_getaffinity(0)), round(sys.getswitchinterval(), 6), gc.get_threshold()[0]

        @pytest.fixture
        def seen():
            before = conditions()
            yield
            assert conditions() != before

        def test_it(seen):
            assert conditions() == (1, 0.001, 1)

        def test_after():
            assert conditions()[1:] == (0.005, 700) or sys.version_info >= (3, 13)
        """
    ).run(isolation="inprocess", pressure={**SETTINGS, "calls": 0.0, **conditions})
    for name in ("test_it", "test_after"):
        assert {outcome for _, outcome in run.reports(name)} == {"passed"}, run.log
    assert run.one("delays")["sites"] == []


@pytest.mark.parametrize("isolation", ["forked", "inprocess"])
def test_each_test(suite: Suite, beside: None, isolation: str) -> None:
    """Without the name of a test, each is under pressure. What one has used up of its budget is not another's."""
    run = suite.write(
        test_a="""
        import threading
        import time
        import pytest

        @pytest.mark.parametrize("number", range(3))
        def test_it(number):
            began = time.monotonic()
            for _ in range(100):
                thread = threading.Thread(target=print)
                thread.start()
                thread.join()
            print("took", time.monotonic() - began)
        """
    ).run(isolation=isolation, pressure={**SETTINGS, "test": "", "budget": 0.2})
    for number in range(3):
        assert {outcome for _, outcome in run.reports(f"test_it[{number}]")} == {"passed"}, run.log
    slept = run.one("delays")["slept"]
    assert slept >= (0.6 if isolation == "forked" else 0.2)


@pytest.mark.parametrize(
    ("program", "full"),
    [
        ("import time; print('full', flush=True); time.sleep(60)", True),
        ("print('full', flush=True)", False),  # the kernel has killed it
        ("raise SystemExit(3)", None),
    ],
    ids=["full", "killed", "no limit"],
)
def test_memory(suite: Suite, beside: None, program: str, full: bool | None) -> None:
    """The event says whether the memory stayed full. If it cannot be filled, that is an error."""
    conftest.AGENT.with_name("ballast.py").write_text(program)
    suite.write(
        test_a="""
        import time

        def test_it():
            time.sleep(0.2)
        """
    )
    pressure = {**SETTINGS, "calls": 0.0, "memory": True}
    if full is not None:
        assert suite.run(pressure=pressure).one("delays")["full"] is full
        return
    talk = suite.talk()
    talk.start(args=[], pressure=pressure)
    run = talk.listen(lambda event: None)
    assert "cannot be filled: ballast.py ended with status 3" in run.one("error")["message"]


def test_a_test_that_removes_everything(suite: Suite, beside: None) -> None:
    """The counts are lost at worst, and nothing else."""
    run = suite.write(
        test_a="""
        import glob
        import os
        import pytest

        @pytest.mark.parametrize("what", [os.unlink, lambda file: open(file, "w").close()], ids=["remove", "truncate"])
        def test_it(what):
            what(os.environ["PYO3TEST_PRESSURE"])
        """
    ).run(pressure={**SETTINGS, "test": "test_a.py::test_none"})
    assert run.one("delays")["sites"] == []
    assert run.one("exit")["exit"] == 0


def test_without_the_library(suite: Suite, tmp_path: Path) -> None:
    """Delays that cannot be are an error, and conditions need no library."""
    suite.write(
        test_a="""
        import os

        def test_it():
            assert "LD_PRELOAD" not in os.environ
        """
    )
    talk = suite.talk()
    talk.start(args=[], pressure=SETTINGS)
    run = talk.listen(lambda event: None)
    assert "there is no library for delays" in run.one("error")["message"]


def test_conditions_need_no_library(suite: Suite) -> None:
    """Nothing is preloaded for them."""
    run = suite.write(
        test_a="""
        import os

        def test_it():
            assert "LD_PRELOAD" not in os.environ and len(os.sched_getaffinity(0)) == 1
        """
    ).run(pressure={**SETTINGS, "calls": 0.0, "one_processor": True})
    assert run.report("test_it")["outcome"] == "passed" and run.one("delays")["sites"] == []


def test_a_hang_still_counts_its_delays(suite: Suite, beside: None) -> None:
    """The counts do not need the test's own end."""
    run = suite.write(
        test_a="""
        import threading

        def test_it():
            lock = threading.Lock()
            lock.acquire()
            threading.Thread(target=lock.acquire).start()
            lock.acquire()
        """
    ).run(pressure=SETTINGS, on=hang_killer("test_it", dump=True))
    assert run.one("delays")["slept"] > 0
    stacks = str(run.one("dump")["stacks"])
    assert "test_it" in stacks and "pressure" not in stacks
    assert run.of("deadlock") or run.finish("test_it")["killed"] == "hung"


PROGRAM = r"""
    #define _GNU_SOURCE
    #include <errno.h>
    #include <linux/futex.h>
    #include <pthread.h>
    #include <semaphore.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    extern int pyo3test_pressure_arm(int) __attribute__((weak));
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
    static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    static sem_t semaphore;
    static int ready;

    static void *work(void *number) {
        pthread_mutex_lock(&mutex);
        ready = 1;
        pthread_cond_signal(&condition);
        pthread_mutex_unlock(&mutex);
        pthread_rwlock_rdlock(&rwlock);
        pthread_rwlock_unlock(&rwlock);
        sem_post(&semaphore);
        return number;
    }

    int main(void) {
        printf("armed %d\n", pyo3test_pressure_arm ? pyo3test_pressure_arm(1) : -1);
        sem_init(&semaphore, 0, 0);
        pthread_t thread;
        void *result;
        pthread_create(&thread, NULL, work, (void *)42);
        pthread_mutex_lock(&mutex);
        while (!ready)
            pthread_cond_wait(&condition, &mutex);
        pthread_mutex_unlock(&mutex);
        pthread_rwlock_wrlock(&rwlock);
        pthread_rwlock_unlock(&rwlock);
        sem_wait(&semaphore);
        pthread_join(thread, &result);
        struct timespec past = {0, 1};
        int word = 7;
        errno = 0;
        long timed = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 7, &past, NULL, 0);
        printf("result %ld, futex %ld %s, page %ld\n", (long)result, timed, strerror(errno),
               syscall(SYS_getpid) == getpid());
        return 0;
    }
"""


def test_the_functions_still_work(library: Path, tmp_path: Path) -> None:
    """Each call has the result, and errno, that it would have without the library."""
    source = tmp_path / "program.c"
    source.write_text(textwrap.dedent(PROGRAM))
    subprocess.run(["gcc", "-O2", "-pthread", "-o", tmp_path / "program", source], check=True)
    sys.path.insert(0, str(conftest.AGENT.parent))
    from pressure import Pressure

    said = "result 42, futex -1 Connection timed out, page 1\n"
    for calls in (1e-9, 1.0):
        pressure = Pressure({**SETTINGS, "calls": calls}, str(tmp_path), str(library))
        done = subprocess.run(
            [tmp_path / "program"],
            env=pressure.environment(dict(os.environ)),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout == "armed 1\n" + said and done.stderr == ""
        seen = pressure.end()
        assert seen["timed"] == 1
        kinds = {site["kind"]: site for site in seen["sites"]}
        assert bool(kinds) == (calls == 1)
        if calls == 1:
            assert set(kinds) >= {"pthread_create", "thread start", "pthread_join", "sem_post", "futex"}
            assert kinds["pthread_create"]["module"] == "python"  # the program itself has no name
    plain = subprocess.run([tmp_path / "program"], capture_output=True, text=True, timeout=60, check=True)
    assert plain.stdout == "armed -1\n" + said


EDGES = r"""
    #include <stdint.h>
    #include <stdio.h>

    struct edge { uint64_t address, flags; };
    extern int pyo3test_pressure_arm(int);
    extern void __sanitizer_cov_trace_pc_guard(uint32_t *guard);
    extern void __sanitizer_cov_trace_pc_guard_init(uint32_t *start, uint32_t *stop);
    extern void __sanitizer_cov_pcs_init(const struct edge *start, const struct edge *stop);
    static uint32_t guards[100], others[1];
    static struct edge edges[100], other[1];
    static char code[200];

    int main(void) {
        for (int i = 0; i < 100; i++)
            edges[i].address = (uint64_t)(code + i);
        other[0].address = (uint64_t)(code + 150);
        for (int unit = 0; unit < 2; unit++) {
            __sanitizer_cov_trace_pc_guard_init(guards, guards + 100);
            __sanitizer_cov_pcs_init(edges, edges + 100);
        }
        __sanitizer_cov_trace_pc_guard_init(others, others + 1);
        __sanitizer_cov_pcs_init(other, other + 1);
        for (int armed = 0; armed < 2; armed++) {
            pyo3test_pressure_arm(armed);
            for (int i = 0; i < 100; i++)
                __sanitizer_cov_trace_pc_guard(&guards[i]);
            __sanitizer_cov_trace_pc_guard(&others[0]);
        }
        printf("%lu\n", (unsigned long)code);
        return 0;
    }
"""


def test_edges_are_chosen(library: Path, tmp_path: Path) -> None:
    """Those that are directed are delayed, or a share of all that the seed decides."""
    source = tmp_path / "edges.c"
    source.write_text(textwrap.dedent(EDGES))
    program = tmp_path / "edges"
    subprocess.run(["gcc", "-no-pie", "-o", program, source, library], check=True)
    sys.path.insert(0, str(conftest.AGENT.parent))
    from pressure import Pressure

    def delayed(**settings: Any) -> set[int]:
        settings = {**SETTINGS, "calls": 0.0, "code": 1.0, "longest": 1e-5, **settings}
        pressure = Pressure(settings, str(tmp_path), str(library))
        env = {**pressure.environment(dict(os.environ)), "LD_LIBRARY_PATH": str(library.parent)}
        start = int(subprocess.run([program], env=env, capture_output=True, text=True, check=True).stdout)
        sites = pressure.end()["sites"]
        assert {site["kind"] for site in sites} <= {"code"}
        return {site["offset"] - start for site in sites}

    everything = delayed(share=1.0)
    assert everything == {*range(100), 150}
    first, again, second = (delayed(share=0.2, seed=seed) for seed in (1, 1, 2))
    assert first == again != second and 5 < len(first) < 40
    start = int(subprocess.run([program], env={"LD_LIBRARY_PATH": str(library.parent)}, stdout=-1, check=True).stdout)
    assert delayed(directed=[start + 150, start + 7, start + 199]) == {7, 150}


def test_a_board_that_is_none(library: Path, tmp_path: Path) -> None:
    """A file of another kind, or of another length, leaves the library inert."""
    for content in (b"", b"x" * 200_000):
        board = tmp_path / "board"
        board.write_bytes(content)
        env = {**os.environ, "LD_PRELOAD": str(library), "PYO3TEST_PRESSURE": str(board)}
        code = "import ctypes; print(ctypes.CDLL(None).pyo3test_pressure_arm(1))"
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert done.stdout == "0\n" and board.read_bytes() == content
