"""The program that runs inside a group's container: it starts pytest, monitors it, and dumps and kills on demand.

It speaks JSON lines: commands on stdin, events on stdout. The Go side decides on all durations and counts, and on what
an event means. There is one thread. It waits only until events are written and until other processes have ended.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import selectors
import signal
import sys
import time
from typing import Any

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "site"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import facts
import procs
import protocol
import relay
import running
import stages
from bytecode import compiled
from dumps import Dump
from pyo3test_plugin.lines import MAX_LINE, encode
from pyo3test_plugin.linux import adopt_orphans

BEAT = 1.0
LEAVE = 0.2
"""Seconds in which the processes that a test has left running may end by themselves."""
TRACKER = "from multiprocessing.resource_tracker import "
"""Part of the command line of a process that by design outlives those it serves, though not by much."""
TRACKER_LEAVE = 5.0
"""Seconds for the tracker alone: it waits for a processor, as all do under load, then for its pipe to close."""
DRAIN = 2.0
"""Seconds to read what is left in the event pipe after pytest has ended."""


class Agent:
    """One run of one suite."""

    def __init__(self, output: int) -> None:
        self.output = output
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.heard = b""
        self.held: list[bytes] = []
        self.dumps: list[Dump] = []
        self.job: stages.Import | stages.Pytest | None = None
        self.start: dict[str, Any] | None = None
        self.stopping = False
        self.finished = False

    # The loop

    def main(self) -> int:
        """Serve until pytest has ended and everything is reported, or until Go is gone."""
        if not adopt_orphans():
            self.say("error", message="cannot adopt orphans: what tests leave behind may stay")
        signal.signal(running.ASK, self.tell_running)
        os.set_blocking(0, False)
        self.selector.register(0, selectors.EVENT_READ, self.listen)
        self.say("ready", pid=os.getpid(), protocol=protocol.VERSION)
        beat = time.monotonic() + BEAT
        while not self.finished:
            busy = bool(self.dumps)
            pause = min(max(0.0, beat - time.monotonic()), 0.02 if busy else BEAT)
            if self.job is not None and not self.job.has_pidfd:
                pause = min(pause, 0.05)
            if self.job is not None:
                pause = min(pause, self.job.deadlocks.pause(time.monotonic()))
            for key, _ in self.selector.select(pause):
                if not self.finished:
                    key.data()
            for dump in list(self.dumps):
                dump.step()
                if dump.done:
                    self.dumps.remove(dump)
                    self.say("dump", **dump.result)
            if self.job is not None:
                for proof in self.job.deadlocks.step(time.monotonic()):
                    self.tell_gone()
                    self.say("deadlock", **dataclasses.asdict(proof))
            if self.job is not None and not self.finished and self.job.ended():
                self.job_ended()
            if time.monotonic() >= beat:
                beat = time.monotonic() + BEAT
                self.tell_gone()
                self.say("beat", cpu=procs.cpu_seconds(self.job.pid) if self.job is not None else 0.0)
                self.reap()
        self.end()
        return 0

    def say(self, kind: str, **fields: Any) -> None:
        """Send one event of the agent's own."""
        self.held.append(encode({"ev": kind, "t": round(time.monotonic(), 6), **fields}))
        self.flush()

    def flush(self) -> None:
        """Write the waiting lines, all at once."""
        view = memoryview(b"".join(self.held))
        self.held.clear()
        while view:
            try:
                view = view[os.write(self.output, view) :]
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:
                self.stopping = True
                self.finished = True
                return

    def tell_running(self, *_: object) -> None:
        """Write down which tests run in which processes, for a dump that was not asked for by Go."""
        running.write(self.job.running if isinstance(self.job, stages.Pytest) else {})

    def tell_gone(self) -> None:
        """Report the tests' processes that ended before pytest reported their end: the group then waits for pytest."""
        if isinstance(self.job, stages.Pytest):
            for pid in self.job.gone():
                self.say("gone", pid=pid)

    def reap(self) -> None:
        """Reap zombies.

        If the parent of a test's process has ended, the agent reaps that process and passes its status on to pytest.
        """
        for pid, status in procs.reap(self.awaited()):
            if isinstance(self.job, stages.Pytest) and self.job.command["isolation"] != "inprocess":
                self.job.tell({"ended": pid, "status": status})

    def awaited(self) -> set[int]:
        """Return the agent's own children whose exit status is still needed."""
        pids = {dump.child.pid for dump in self.dumps if dump.child is not None}
        if self.job is not None:
            pids.add(self.job.pid)
        return pids

    def end(self) -> None:
        """Leave no process behind and report it."""
        for dump in self.dumps:
            dump.cancel()
        for _ in range(3):
            if not procs.kill_trees([os.getpid()], with_roots=False):
                break
            procs.reap(set())
        self.say("done")

    # Commands

    def listen(self) -> None:
        """Read commands. The end of stdin means that Go is gone: everything ends."""
        try:
            data = os.read(0, 1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(0)
            self.stop()
            return
        self.heard += data
        *lines, self.heard = self.heard.split(b"\n")
        if len(self.heard) > 64 * MAX_LINE:
            self.heard = b""
            self.say("error", message="a command without an end was dropped")
        for line in lines:
            if line.strip():
                self.obey(line)

    def obey(self, line: bytes) -> None:
        """Carry out one command."""
        try:
            command = json.loads(line)
            name = command["cmd"]
            action = {
                "start": self.on_start,
                "run": self.on_run,
                "dump": self.on_dump,
                "pace": self.on_pace,
                "kill": self.on_kill,
                "stop": self.on_stop,
            }.get(name)
            if action is None:
                raise ValueError(f"unknown command {name!r}")
            if name != "start" and (wrong := protocol.wrong_command(command)):  # a wrong start ends the agent
                raise ValueError(wrong)
            action(command)
        except (ValueError, TypeError, LookupError, AttributeError, OSError, ArithmeticError, RecursionError) as error:
            words = line[:200].decode("utf-8", "replace")
            self.say("error", message=f"{type(error).__name__}: {error} in the command {words}")

    def on_start(self, command: dict[str, Any]) -> None:
        """Put the built files in place, check that the modules can be imported, run pytest."""
        if self.start is not None:
            raise ValueError("started twice")
        self.start = command
        try:
            stages.check(command)
            stages.restore(command.get("restore"), command.get("into"))
            os.makedirs(command["out"], exist_ok=True)
            if command["imports"]:
                self.job = stages.Import(self, command)
                self.say("importing", pid=self.job.pid)
            else:
                self.start_pytest()
        except (OSError, ValueError, KeyError) as error:
            self.say("error", message=f"start: {error}")
            self.finished = True

    def start_pytest(self) -> None:
        """Start the tests themselves."""
        assert self.start is not None
        self.job = stages.Pytest(self, self.start)
        self.say("started", pid=self.job.pid)

    def on_run(self, command: dict[str, Any]) -> None:
        """Forward the choice of tests to the plugin."""
        if not isinstance(self.job, stages.Pytest):
            raise ValueError("pytest does not run")
        self.job.tell({"run": command["order"]})

    def on_pace(self, command: dict[str, Any]) -> None:
        """Report how much a process has done so far."""
        pid = command["pid"]
        self.say("pace", pid=pid, pace=facts.pace(pid))

    def on_dump(self, command: dict[str, Any]) -> None:
        """Start collecting the stacks of one of our processes."""
        pid, name = command["pid"], command["id"]
        self.tell_gone()
        if not self.is_ours(pid):
            self.say("dump", id=name, pid=pid, stacks=None, text="", error="the process is gone, or none of the tests'")
            return
        stacks = self.job.stacks if isinstance(self.job, stages.Pytest) else ""
        dump = Dump(pid, name, stacks, stages.STACKS_SIGNAL if stacks else 0)
        dump.step()
        self.dumps.append(dump)

    def is_ours(self, pid: int) -> bool:
        """Report whether a process is alive and belongs to the tests or is pytest."""
        process = procs.look(pid)
        if process is None or process.dead:  # its end is already known
            return False
        known = {self.job.pid} if self.job is not None else set()
        if isinstance(self.job, stages.Pytest):
            known |= set(self.job.running)
        return pid in known or procs.is_below(pid, os.getpid(), procs.everything())

    def on_kill(self, command: dict[str, Any]) -> None:
        """End a process and its descendants. If it belongs to a test, first let the plugin know why."""
        pid, reason = command["pid"], command["reason"]
        for dump in [each for each in self.dumps if each.pid == pid]:
            dump.abort("killed meanwhile")  # a traced process dies only when its tracer lets go
        killed: list[dict[str, object]] = []
        self.tell_gone()
        if self.is_ours(pid):
            if procs.crowd():  # there is no time to stop them one by one
                procs.send_group(pid, signal.SIGKILL)
            if isinstance(self.job, stages.Pytest) and pid != self.job.pid:
                self.job.tell({"kill": pid, "reason": reason, "message": command["message"]})
            elif self.job is not None:
                self.job.killed_because = command["message"] or reason
            killed = procs.kill_trees([pid])
        self.say("killed", pid=pid, reason=reason, processes=killed)
        self.reap()

    def on_stop(self, command: dict[str, Any]) -> None:
        """End everything."""
        self.stop()

    def stop(self) -> None:
        """Kill the running job at once; the loop ends when the job has ended."""
        self.stopping = True
        if self.job is None:
            self.finished = True
        else:
            procs.kill_trees([self.job.pid])

    # The job's life

    def job_ended(self) -> None:
        """Handle the end of the import process or of pytest."""
        job = self.job
        assert job is not None
        job.drain(time.monotonic() + DRAIN)  # before the kill, so that what tests have left running is reported
        job.settle()
        if not self.dumps:
            procs.kill_trees([os.getpid()], with_roots=False)
        good = job.conclude()
        job.close()
        self.job = None
        if isinstance(job, stages.Import) and good and not self.stopping:
            try:
                self.start_pytest()
            except (OSError, ValueError) as error:
                self.say("error", message=f"start: {error}")
                self.finished = True
        else:
            self.finished = True

    def relay_event(self, line: bytes) -> None:
        """Pass on a line from the plugin if it is an event."""
        event = relay.check(line)
        if event is None:
            assert isinstance(self.job, stages.Pytest)
            self.job.garbage += 1
            if self.job.garbage <= stages.GARBAGE:
                self.say("garbage", text=line[:200].decode("utf-8", "replace"))
            return
        if event["ev"] == "finish" and isinstance(self.job, stages.Pytest):
            self.job.unwatch(event)
            self.sweep(event)  # reported before the end, which is the last event of a test
        self.held.append(b'%s,"t":%.6f}\n' % (line.rstrip()[:-1], time.monotonic()))
        if isinstance(self.job, stages.Pytest):
            if event["ev"] == "item":
                self.job.know(event)
            elif event["ev"] == "start":
                self.job.watch(event)
            elif event["ev"] == "finish":
                if event.get("killed") == "memory":
                    self.job.memory.give()
            elif event["ev"] == "collected":
                self.tell_bytecode()
            elif event["ev"] == "finished":
                self.job.finished = True

    def tell_bytecode(self) -> None:
        """Report what was compiled during collection, before a test can change it."""
        assert self.start is not None
        if self.start.get("into"):
            for name, data in compiled(self.start["into"], set(self.start.get("compiled", []))):
                self.say("bytecode", file=name, data=base64.b64encode(data).decode("ascii"))

    def sweep(self, event: dict[str, Any]) -> None:
        """Kill the processes that an ended forked test has left running."""
        assert isinstance(self.job, stages.Pytest)
        pid, name = event.get("pid", -1), self.job.name(event)
        left = self.job.leftovers(pid, name)
        # After pytest's end its last events are still to be read, within DRAIN.
        began, over = time.monotonic(), self.job.ended()
        patience, tracker_patience = (0, DRAIN / 2) if over else (LEAVE, TRACKER_LEAVE)
        commands: dict[int, str] = {}  # kept, because a process that is about to end no longer has one
        while left:
            trackers = all(TRACKER in commands.setdefault(each.pid, procs.command(each.pid)) for each in left)
            if time.monotonic() - began >= (tracker_patience if trackers else patience):
                break
            time.sleep(0.005)
            self.reap()
            left = self.job.leftovers(pid, name)
        if left:
            killed = procs.kill_trees([process.pid for process in left])
            fields = {name: event[name] for name in ("index", "pid") if name in event}
            self.say("killed", reason="leftover", processes=killed[: procs.NAMED], count=len(killed), **fields)
            self.reap()


def main() -> int:
    """Keep the protocol's stream for the agent: nothing that prints may reach it."""
    output = os.dup(1)
    os.set_inheritable(output, False)
    os.dup2(2, 1)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return Agent(output).main()


if __name__ == "__main__":
    sys.exit(main())
