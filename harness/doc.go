// Package harness runs the Python tests of a PyO3 extension as Go subtests.
//
//	func TestPython(t *testing.T) { harness.Run(t, harness.Suite{Crate: "../rust/mycrate"}) }
//
// Run finds a Docker engine, makes an image with Python 3.11, Rust and maturin once, builds the crate in a container
// once for each content, and runs pytest in a container of its own for each [Group]. Every pytest test is a subtest that
// begins when pytest begins it and ends when pytest ends it. Run returns when all is done and nothing is left running.
//
// # What is built
//
// The crate, its path dependencies and its workspace travel to the container; the user's tree is never written to.
// The build is maturin's, as `maturin develop` would do it: release profile, with names and lines for stacks, unless
// the Suite says otherwise. An edit of Python costs no build, an edit of Rust an incremental one, no edit none.
// Before pytest starts, the built module is imported; where that fails the group fails, so no suite can skip itself
// green for want of its module. Nor can it pass with another: what the tests import has to be the file that was
// built, and not a folder of its name that comes first on sys.path.
//
// Everything in those folders travels except version control's own files, the caches of Python's tools, native
// modules (.so, .pyd, .dylib), data of coverage runs, and output folders: virtual environments, node_modules,
// .egg-info, and what holds a CACHEDIR.TAG or a .rustc_info.json. Native modules and output folders travel too as far
// as git tracks them, pytest finds tests in them, or the project, [Suite.Tests] or [Suite.Include] names them. A
// native module that could be imported instead of the built one never travels, a file above 1 GiB only if Include names
// it, and one line of the run names what was left out. In a container every file of the sources has one fixed time.
//
// A link travels as a link. One that leads out of those folders is followed only if git tracks its target in the
// crate's repository, if the target is in [Suite.Root], or if Include names the link or its target; the others lead
// to what the container has of that name, which is mostly nothing, and the run names them. Nothing is read from /proc, /sys or /dev. Bazel's runfiles are
// links out of the tree: set Root to a folder that holds both them and the sources, or Include to the sources'
// folder.
//
// A crate without a Cargo.lock keeps that of its first build, in the engine. A rust-toolchain file is honoured where
// the base image has rustup, as the pinned one has; elsewhere the run says so. What the tests need is installed from
// where projects write it down; [Suite.Requirements] says where that is looked for, and the run says what was taken.
// [tool.uv.sources] counts for what pyproject.toml and the Suite ask for: a source that cannot be honoured is an
// error, and not a reason to take an index's package of that name. maturin alone builds the project: an index's copy
// of it is never installed.
//
// PYO3_PYTHON and PYO3_NO_PYTHON_VERSION_CHECK=1 are set for the build and for the tests. PyO3 reads the first, when it is
// built: it names the interpreter to build for. Nothing in PyO3 reads the second; it is set because projects look for it.
// The switch that does skip PyO3's check of the version is UNSAFE_PYO3_SKIP_VERSION_CHECK: it builds against a Python
// that this PyO3 does not know, and is not set here.
//
// # Options without Go
//
// What a Suite leaves open is taken from [tool.pyo3test] in the crate's pyproject.toml. The keys are the Suite's fields
// with dashes, underscores or as they are (test-timeout, TestTimeout); times are seconds or "1m30s". A key that means
// nothing is said.
//
// # What is run
//
// pytest collects what it finds by itself, in the crate's folder and with the project's own configuration, or what
// [Suite.Tests] names. A configuration above the crate's folder counts as it does by hand, with the conftest.py files
// between. go test's -run and -skip then choose among the collected tests, to the last parameter, -shuffle
// orders them, -failfast ends the session. Under [Forked], the default, each test runs in a forked child of the collected
// pytest: `--forked` means what pytest-forked means by it, and each child sets up and tears down all its fixtures, those of
// session scope too. It is carried out by a plugin of the harness, which works with pytest 9.2 where pytest-forked fails
// every test, and keeps warnings, properties, subtests and coverage. A project's -n N becomes N children at a time.
// A child ends as soon as its test is reported, as one of pytest-forked does: threads that the test has left, daemons or not,
// are cut off.
//
// Under [Subprocess] each has a fresh interpreter instead, forked from a process with one thread that has loaded nothing of
// the project, which collects the test's file once more and runs the one test: for hangs that fork itself causes. It costs
// some 50 ms a test. The option --forked-subprocess of a project or of PytestArgs chooses it too.
//
// The name of a subtest is its node id with slashes: TestPython/mycrate/tests/test_map.py/TestMap/test_get[key]. What
// testing cannot have in a name is written as testing would write it, and a name that is taken gets "~2". Each failure ends
// with the two commands that run just that test again.
//
// # What the outcomes are
//
//	pytest                          Go
//	passed                          pass
//	failed, error                   fail, with the phase, the traceback, file and line on the host
//	skipped, xfailed                skip, with the reason
//	xpassed                         pass with a note; a strict one fails
//	its process died                fail: the signal or the status, and the last output
//	no end within its budget        fail: "hung", with its cause and the stacks of all its threads; only its process is killed
//	pytest itself stands still      fail: "error" of the test that it was to report, with the stacks of pytest's own process
//	deadlocked                      fail: "hung", with the proof too, seconds after it happened
//	the interpreter does not end    fail of one more subtest, "(exit)"; every test keeps its verdict
//	killed by the kernel for memory fail, with the limit and the peak
//	it leaves processes running     as it is, with their command lines, and they are killed; red with [Suite.FailLeaky]
//	not run                         fail, with the reason
//	subtests                        nested subtests
//
// A deadlock does not sit out its budget. Twice a second the agent looks at pytest and at each test that runs for more than
// half a second.
// Where every thread of its process waits, without a time-out, for another thread of the same process, or for a GIL whose
// holder waits so, and nothing outside is left to wake one (no other process, signal handler, timer or tracer), it is ended
// two seconds after the last of them ran: a test, and pytest itself, where it imports the extension, collects or exits. Whatever
// waits for the outside or the clock is left to its budget. [Suite.NoDeadlockProof] switches it off.
//
// Nothing is green by mistake: what was seen of each test has to agree with pytest's own JUnit file and with its exit
// status. No tests found, a file that cannot be collected, tests that are only set up, a session that ends early, a lost
// stream or one that others write to: each is red. So is an os._exit after the session, with status 0 too: what it cuts short
// can hide a failure.
//
// # Hangs
//
// Every phase has a budget, which is a field of [Suite], and -timeout of go test is above them all. A test that has used up
// half of its budget is called SLOW, live. At the end of it the stacks are taken, native and Python frames together, and the
// test is red with the cause, as far as the stacks show one; what is inferred is called so. The file hang-*.txt among what a
// red run leaves has all of it: files and sockets, child processes, memory, and the threads that a fork did not copy. What
// the process did in its last second tells a test that still works from one that is stuck. While a container is paused, or
// the test process stopped, deadlines stand still.
//
// What pytest itself does between two tests is no test's time: each hook that plugins and conftests have there has
// [Suite.FinishTimeout]. Where pytest's own process stands still it is killed, and started again for the tests that are left,
// twice at most. A container whose agent is kept from acting is killed at a deadline that nothing inside it can move.
//
// After the last test of a group, culprits are run once more, each alone in a fresh interpreter, up to three of a kind: one
// that crashed under gdb, for its native stacks, and one that what a fork does not copy made hang without the fork, to show
// that. What came of it is a text of the group's and of the JUnit file, "(proof)". -failfast does without.
//
// SIGINT, SIGTERM, the end of who started the tests, and a -timeout that is near end a run in order: what is running is
// named with its stacks, on standard error at once, and everything is removed. SIGQUIT to the test process shows the same and
// stops nothing; a second one within two seconds gets Go's own dump.
//
// PYO3TEST_DEBUG=1 with a -run that picks one test runs it in the foreground, in plain pytest with the user's terminal and
// without a deadline: breakpoint() and `--pdb` work, and so does gdb, which is in the container. Add -timeout 0.
//
// In `go test -json`, each test has the attributes pytest.nodeid, pytest.outcome and pytest.seconds.
//
// # What stays
//
// Of a red run: pytest's own output, its JUnit file, and one JUnit file of all groups, in the folder that the last line
// names: that of -artifacts, a folder of PYO3TEST_ARTIFACTS, or the user's cache folder, where the newest twenty stay,
// 1 GiB at most. Of one file 64 MiB are kept, of one run 256 MiB: what is cut says so at its end.
// Of what a test prints, the log has 64 KiB of each phase, head and tail, and the folder a file with all of it.
// These files have it as it was printed. Where it is shown, control characters are written as \x1b, and a backslash breaks
// what a CI system or a reader of go test's output would take for a command or an event.
// PYO3TEST_JUNIT names a file for the JUnit report of every run, or a folder for one file a run; where it is relative, it
// is so to the package's folder. The report of a red run is red, also where no test is to blame: such causes are testcases
// named (build), (setup), (session) or (exit), for example. It is red from the start, and stays so if the run is killed.
//
// In the engine: images of the base, the tools and the last five builds of each crate, and volumes with what cargo and uv
// have fetched and compiled for each crate; `pyo3test clean` removes them. Containers live as long as a stream from the test process, so
// that also kill -9 leaves none.
//
// # What crates share
//
// No code of a project can write what the build or the tests of another project read. A crate, which is a place on this
// host, has three volumes of its own: for what cargo and rustup download, for what uv does, and for cargo's target folder.
//
// Crates and toolchains are fetched in a container that has the network and the host's credentials and runs no code of the
// project: cargo and rustup run outside the sources, with those settings of the project alone that say where crates come
// from. The build then has no network, no credentials and no capabilities, it has limits, and what was fetched is
// read-only for it; [Suite.BuildNetwork] gives a build script the network. The address of a registry reaches the build as it
// is, as cargo names folders by it: keep passwords out of it.
//
// What the tests need is installed with the network. Packages that come as sources run code then, which can write to uv's
// volume alone. Every installed file is then compared with its package's RECORD, and a build that changes one is an error.
// Images and bytecode are kept for each place too, and bytecode is taken before a test can change it.
//
// A project's own files say what travels and whether there is a network: path dependencies, requirements and [tool.pyo3test]
// can name any file that you can read. Read those of a stranger's crate before you run it.
//
// What is at one place counts as one project: if branches that do not trust each other are checked out at the same path in
// turn, give each an engine or a path of its own.
//
// # Where it stands
//
// Tests run without a network unless [Suite.Network] says so, as a user without rights, with limits. That is a wall
// between them and the host. Inside a group, tests and the agent that watches them are one user: that guards against
// accidents, not against malice.
//
// The base image is python:3.11 for Debian bookworm with Rust, pinned by digest. Where no registry answers, one of the same
// role is made from Debian's packages, which takes root on Debian. PYO3TEST_BASE_IMAGE names another base, which has to
// bring Python 3.11 or later, Rust and gcc; PYO3TEST_MIRROR is put before the pinned names (some mirrors want it to end in
// /library). Neither is replaced by another base where it cannot be had. Credentials are those of docker login.
// Certificates, proxies and index settings of the host reach the steps that fetch and install, and only these.
package harness
