"""What Go and the agent say to each other: JSON lines, one type for each kind of message.

The Go package `protocol` has the same types, and tests/messages.jsonl has an example of each, which the tests of both
languages read. An event's kind is its "ev", a command's name its "cmd". All other fields are checked against the types
below: a missing field, an unknown one or one of another type makes a line no message.
"""

import types
from typing import Any, Callable, NotRequired, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

VERSION = 1
"""The version that `ready` names."""

LARGEST = 2**31 - 1
"""The largest number without a fraction: Go reads them as 64 bits, the kernel's are smaller."""


# Commands, from Go.


class Module(TypedDict):
    """A module to import before the tests do, and the file that has to be loaded."""

    name: str
    file: str
    sha256: str


class Pressure(TypedDict):
    """What makes rare failures of a test frequent, of each test if it is "".

    Probabilities and shares are from 0 to 1, times in seconds.
    """

    test: str
    seed: int
    calls: float
    code: float
    share: float
    directed: list[int]
    longest: float
    budget: float
    switch_interval: float
    garbage: bool
    one_processor: bool
    load: int
    memory: bool


class Start(TypedDict):
    """Run pytest. It is the first command."""

    python: str
    cwd: str
    env: dict[str, str]
    args: list[str]
    isolation: str
    workers: int
    out: str
    imports: list[Module]
    no_deadlock_proof: NotRequired[bool]
    restore: NotRequired[str]
    into: NotRequired[str]
    debugger: NotRequired[bool]
    outputs: NotRequired[list[str]]
    compiled: NotRequired[list[str]]
    pressure: NotRequired[Pressure]


class Run(TypedDict):
    """Let pytest run the tests with these indices, in this order."""

    order: list[int]


class AskDump(TypedDict):
    """Take the stacks of a process."""

    pid: int
    id: str


class AskPace(TypedDict):
    """Report what a process has done so far."""

    pid: int


class Kill(TypedDict):
    """Kill a process and its descendants."""

    pid: int
    reason: str
    message: str


class Stop(TypedDict):
    """End everything."""


# Events of the agent.


class Ready(TypedDict):
    """The first event."""

    pid: int
    protocol: int


class OfProcess(TypedDict):
    """`importing` and `started`: the process that does it; `gone`: a test's that has ended; `leave`: pytest's."""

    pid: int


class Import(TypedDict):
    """The result of the import of a module."""

    module: str
    ok: bool
    file: str
    error: str
    traceback: str


class Beat(TypedDict):
    """The processor seconds of the running process, once a second."""

    cpu: float


class Progress(TypedDict):
    """What a process has done: processor seconds, switches and seconds in a queue, at a time of the monotonic clock.

    And how many of its threads are ready to run at that time.
    """

    at: float
    cpu: float
    switches: int
    queued: float
    ready: int


class Dump(TypedDict):
    """Stacks, or why there are none."""

    id: str
    pid: int
    stacks: Any
    text: str
    error: str
    pace: NotRequired[Union[Progress, None]]
    facts: NotRequired[str]
    crowd: NotRequired[int]
    parent_threads: NotRequired[list[str]]
    test: NotRequired[str]


class Pace(TypedDict):
    """What a process has done so far."""

    pid: int
    pace: Union[Progress, None]


class Deadlock(TypedDict):
    """The proof that a process can never end by itself."""

    pid: int
    after: float
    threads: int
    text: str


class Process(TypedDict):
    """A process that was killed."""

    pid: int
    cmd: str


class Killed(TypedDict):
    """What was killed, and why; with an index, by the end of that test."""

    pid: NotRequired[int]
    index: NotRequired[int]
    reason: str
    count: NotRequired[int]
    processes: list[Process]


class Bytecode(TypedDict):
    """A file of compiled Python, in base64."""

    file: str
    data: str


class JUnit(TypedDict):
    """A piece of pytest's JUnit file, in base64."""

    data: str


class Exit(TypedDict):
    """How pytest's process ended."""

    exit: Union[int, None]
    signal: Union[int, None]
    memory: str
    disk_full: bool
    text: str


class DelayedSite(TypedDict):
    """A place that was delayed: a kind of point, in a module, at an offset in its symbol table."""

    kind: str
    module: str
    offset: int
    delays: int
    slept: float


class Delays(TypedDict):
    """What the pressure on a test did: its sites, and how many of the test's own waits had a time limit."""

    sites: list[DelayedSite]
    slept: float
    timed: int
    lost: int
    full: bool


class Garbage(TypedDict):
    """What is no event, and came where the plugin's events do."""

    text: str


class Error(TypedDict):
    """A failure of the agent, or of the plugin."""

    message: str


class Nothing(TypedDict):
    """`done`, the agent's last event."""


# Events of the plugin, which the agent passes on.


class Session(TypedDict):
    """What runs where."""

    pytest: str
    python: str
    rootdir: str
    args: list[str]
    plugins: list[str]
    isolation: str
    workers: int
    notes: list[str]


class Collecting(TypedDict):
    """The file that is being imported, "" if none is."""

    nodeid: str


class CollectError(TypedDict):
    """A file or folder that cannot be collected."""

    nodeid: str
    longrepr: str
    path: str
    line: int
    junit: list[str]


class CollectSkip(TypedDict):
    """A file that skips itself."""

    nodeid: str
    reason: str
    path: str
    line: int
    junit: list[str]


class Item(TypedDict):
    """A collected test."""

    index: int
    nodeid: str
    path: str
    line: int
    junit: list[str]
    timeout: Union[float, None]
    fixtures: list[str]


class Collected(TypedDict):
    """The end of the collection, with how many tests -k, -m or a plugin deselected before."""

    count: int
    deselected: int
    notes: list[str]


class TestStart(TypedDict):
    """The start of a test."""

    index: int
    pid: int
    threads: int


class TestPhase(TypedDict):
    """The start of a phase of a test: setup, call, teardown or report."""

    index: int
    pid: int
    when: str


class Subtest(TypedDict):
    """What names a subtest."""

    description: str


class TestReport(TypedDict):
    """pytest's report of a phase of a test."""

    index: int
    when: str
    outcome: str
    duration: float
    longrepr: str
    message: str
    path: str
    line: int
    wasxfail: Union[str, None]
    sections: list[list[str]]
    properties: list[list[str]]
    subtest: Union[Subtest, None]


class TestFinish(TypedDict):
    """The end of a test, and of its process."""

    index: int
    pid: int
    exit: Union[int, None]
    signal: Union[int, None]
    complete: bool
    duration: float
    killed: Union[str, None]
    phase: NotRequired[str]
    interrupt: NotRequired[str]
    stdout: NotRequired[str]
    stderr: NotRequired[str]


class Warning(TypedDict):
    """A warning that pytest counts."""

    text: str
    category: str
    path: str
    line: int
    nodeid: str


class Foreign(TypedDict):
    """An imported module that is not the built one."""

    module: str
    file: str
    built: str


class Missing(TypedDict):
    """An argument that names no test, with the node ids that come nearest."""

    argument: str
    near: list[str]


class Sections(TypedDict):
    """What plugins print at the end of the session, such as a table of coverage."""

    text: str


class Finished(TypedDict):
    """The end of the session."""

    exitstatus: int


class Shape:
    """The fields of a message."""

    def __init__(self, message: Any) -> None:
        hints = get_type_hints(message)
        self.fields = {name: _check_of(hint) for name, hint in hints.items()}
        self.required = frozenset(message.__required_keys__)

    def wrong(self, message: dict[str, Any], beside: frozenset[str] = frozenset()) -> str:
        """Return what is wrong with a message, "" if nothing is. `beside` holds fields of every message."""
        for name, value in message.items():
            fits = self.fields.get(name)
            if fits is None:
                if name not in beside:
                    return f"unknown field {name!r}"
            elif not fits(value):
                return f"field {name!r} has an unusable value"
        for name in self.required:
            if name not in message:
                return f"field {name!r} is missing"
        return ""


def _check_of(hint: Any) -> Callable[[Any], bool]:
    """Return a function that reports whether a value has a type."""
    simple: dict[Any, Callable[[Any], bool]] = {
        Any: lambda value: True,
        str: lambda value: type(value) is str,
        bool: lambda value: type(value) is bool,
        int: lambda value: type(value) is int and -LARGEST <= value <= LARGEST,
        float: lambda value: type(value) in (int, float) and -1e300 < value < 1e300,
        type(None): lambda value: value is None,
    }
    if hint in simple:
        return simple[hint]
    if is_typeddict(hint):
        shape = Shape(hint)
        return lambda value: type(value) is dict and not shape.wrong(value)
    arguments = [_check_of(each) for each in get_args(hint)]
    if get_origin(hint) is list:
        (inner,) = arguments
        return lambda value: type(value) is list and all(map(inner, value))
    if get_origin(hint) is dict:
        key, inner = arguments
        return lambda value: type(value) is dict and all(map(key, value)) and all(map(inner, value.values()))
    if get_origin(hint) in (Union, types.UnionType):
        return lambda value: any(fits(value) for fits in arguments)
    raise TypeError(f"no check for {hint}")


COMMANDS = {
    "start": Shape(Start),
    "run": Shape(Run),
    "dump": Shape(AskDump),
    "pace": Shape(AskPace),
    "kill": Shape(Kill),
    "stop": Shape(Stop),
}

PLUGIN = {
    "session": Shape(Session),
    "collecting": Shape(Collecting),
    "collect-error": Shape(CollectError),
    "collect-skip": Shape(CollectSkip),
    "item": Shape(Item),
    "collected": Shape(Collected),
    "start": Shape(TestStart),
    "phase": Shape(TestPhase),
    "report": Shape(TestReport),
    "finish": Shape(TestFinish),
    "warning": Shape(Warning),
    "foreign": Shape(Foreign),
    "missing": Shape(Missing),
    "sections": Shape(Sections),
    "finished": Shape(Finished),
    "leave": Shape(OfProcess),
}
"""The events that the plugin may send."""

AGENT = {
    "ready": Shape(Ready),
    "importing": Shape(OfProcess),
    "import": Shape(Import),
    "started": Shape(OfProcess),
    "beat": Shape(Beat),
    "dump": Shape(Dump),
    "pace": Shape(Pace),
    "deadlock": Shape(Deadlock),
    "killed": Shape(Killed),
    "gone": Shape(OfProcess),
    "bytecode": Shape(Bytecode),
    "junit": Shape(JUnit),
    "delays": Shape(Delays),
    "exit": Shape(Exit),
    "garbage": Shape(Garbage),
    "error": Shape(Error),
    "done": Shape(Nothing),
}
"""The agent's own events."""

_KIND, _KIND_AND_TIME, _NAME = frozenset({"ev"}), frozenset({"ev", "t"}), frozenset({"cmd"})


def _wrong(message: Any, key: str, shapes: dict[str, Shape], beside: frozenset[str]) -> str:
    if type(message) is not dict or type(message.get(key)) is not str:
        return f"no object with {key!r}"
    shape = shapes.get(message[key])
    return shape.wrong(message, beside) if shape is not None else f"unknown {message[key]!r}"


def wrong_from_plugin(event: Any) -> str:
    """Return what is wrong with an event of the plugin, "" if nothing is. It has no time yet."""
    return _wrong(event, "ev", PLUGIN, _KIND)


def wrong_event(event: Any) -> str:
    """Return what is wrong with a line of the agent's output, "" if nothing is."""
    return _wrong(event, "ev", {**PLUGIN, **AGENT}, _KIND_AND_TIME)


def wrong_command(command: Any) -> str:
    """Return what is wrong with a command, "" if nothing is."""
    return _wrong(command, "cmd", COMMANDS, _NAME)
