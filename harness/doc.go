// Package harness runs the Python tests of a PyO3 extension as Go subtests.
//
//	func TestPython(t *testing.T) { harness.Run(t, harness.Suite{Crate: "../rust/mycrate"}) }
//
// Run finds a Docker engine, makes an image with Python 3.11, Rust and maturin once, builds the crate in a container
// once for each content, and runs pytest in one container for each [Group]. Every pytest test is a subtest that begins
// when pytest begins the test and ends when pytest ends it. Run returns when everything is done and nothing is left
// running.
//
// # Groups
//
// A Suite without Groups has one, with all tests. Several run in parallel, each in a container of its own, and can
// differ in their tests, environment and arguments:
//
//	func TestPython(t *testing.T) {
//		harness.Run(t, harness.Suite{
//			Crate:       "../rust/mycrate",
//			Workers:     2, // forked tests at a time, in each group
//			TestTimeout: 30 * time.Second,
//			Groups: []harness.Group{
//				{Name: "unit", Tests: []string{"tests/unit"}},
//				{Name: "rayon", Tests: []string{"tests/pools"}, Env: map[string]string{"RAYON_NUM_THREADS": "2"}},
//				{Name: "slow", PytestArgs: []string{"-m", "slow"}},
//			},
//		})
//	}
//
// The subtests are then TestPython/unit/tests/unit/test_map.py/test_get, and so on.
//
// # What is built
//
// The crate, its path dependencies and its workspace are copied to the container; the user's tree is never written to.
// The build is maturin's, as `maturin develop` would do it: the release profile, with names and lines for stacks,
// unless the Suite says otherwise. An edit of Python needs no build, an edit of Rust an incremental one. Before pytest
// starts, the built module is imported. If that fails the group fails, so no suite can skip itself and be green because
// its module is missing. Nor can a suite pass with another module: what the tests import has to be the file that was
// built, and not a folder of its name that comes first on sys.path.
//
// Everything in those folders is copied except version control's own files, the caches of Python's tools, Go tests that
// are directly in one of the folders, native modules (.so, .pyd, .dylib), data of coverage runs, and output folders:
// virtual environments, node_modules, .egg-info, and any folder with a CACHEDIR.TAG or a .rustc_info.json. Native
// modules and output folders are copied as far as git tracks them, pytest finds tests in them, or the project,
// [Suite.Tests] or [Suite.Include] names them. A native module that could be imported instead of the built one is never
// copied, and a file above 1 GiB only if Include names it. One line of the run names what was left out. In a container
// every file of the sources has the same fixed time.
//
// A link is copied as a link. One that leads out of those folders is followed only if git tracks its target in the
// crate's repository, if the target is in [Suite.Root], or if Include names the link or its target. Other links lead to
// whatever the container has under that name, usually nothing, and the run names them. Nothing is read from /proc, /sys
// or /dev. Bazel's runfiles are links out of the tree: set Root to a folder that holds both them and the sources, or
// Include to the sources' folder.
//
// A crate without a Cargo.lock keeps that of its first build, in the engine. A rust-toolchain file is honoured if the
// base image has rustup, as the pinned one has; otherwise the run says that it was not. What the tests need is
// installed from where projects write it down; [Suite.Requirements] lists the places, and the run says which one was
// used. [tool.uv.sources] applies to what pyproject.toml and the Suite ask for: a source that cannot be honoured is an
// error, and no reason to take a package of that name from an index. Only maturin builds the project: an index's copy
// of it is never installed.
//
// PYO3_PYTHON and PYO3_NO_PYTHON_VERSION_CHECK=1 are set for the build and for the tests. PyO3 reads the first when it
// is built: it names the interpreter to build for. Nothing in PyO3 reads the second; it is set because projects look
// for it. The switch that does skip PyO3's check of the version is UNSAFE_PYO3_SKIP_VERSION_CHECK: it builds against a
// Python that this PyO3 does not know, and is not set here.
//
// # Options without Go
//
// What a Suite leaves open is taken from [tool.pyo3test] in the crate's pyproject.toml. The keys are the Suite's fields
// with dashes, with underscores, or as they are (test-timeout, TestTimeout); times are seconds or "1m30s". Unknown keys
// are reported.
//
// # What is run
//
// pytest collects what it finds by itself, in the crate's folder and with the project's own configuration, or what
// [Suite.Tests] names. A configuration above the crate's folder applies as it does by hand, with the conftest.py files
// between. Then go test's -run and -skip choose among the collected tests, down to single parameters, -shuffle orders
// them, and -failfast ends the session early. Under [Forked], the default, each test runs in a forked child of the
// collected pytest. `--forked` means what pytest-forked means by it: each child sets up and tears down all its
// fixtures, including those of session scope. A plugin of the harness does it. It works with pytest 9.2, with which
// pytest-forked fails every test, and keeps warnings, properties, subtests and coverage. A project's -n N becomes N
// children at a time. A child ends as soon as its test is reported, as one of pytest-forked does: threads that the test
// has left are cut off, whether they are daemons or not.
//
// Under [Subprocess] each test has a fresh interpreter instead. It is forked from a process with one thread that has
// loaded nothing of the project; it collects the test's file again and runs that one test. This is for hangs that fork
// itself causes, and costs about 50 ms a test. The option --forked-subprocess of a project or of PytestArgs chooses it
// too.
//
// The name of a subtest is the test's node id with slashes: TestPython/mycrate/tests/test_map.py/TestMap/test_get[key].
// What testing does not allow in a name is written as testing would write it, and a name that is taken gets "~2". Each
// failure ends with the two commands that run just that test again.
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
//	pytest itself does not continue fail: "error" of the test that it was about to report, with the stacks of pytest's own process
//	deadlocked                      fail: "hung", with the proof too, seconds after it happened
//	the interpreter does not end    fail of one more subtest, "(exit)"; every test keeps its verdict
//	killed by the kernel for memory fail, with the limit and the peak
//	it leaves processes running     unchanged, with their command lines, and they are killed; red with [Suite.FailLeaky]
//	not run                         fail, with the reason
//	subtests                        nested subtests
//
// A deadlock does not use up its budget. Twice a second the agent checks pytest, and each test that has run for more
// than half a second. A process is deadlocked if every thread of it waits, without a timeout, for another thread of the
// same process, or for a GIL whose holder waits so, and nothing outside could wake one: no other process, signal
// handler, timer or tracer. It is ended two seconds after the last of its threads ran. That applies to a test, and to
// pytest itself while it imports the extension, collects or exits. Whatever waits for the outside or the clock is left
// to its budget. [Suite.NoDeadlockProof] switches the check off.
//
// Nothing is green by mistake: what was seen of each test has to agree with pytest's own JUnit file and with its exit
// status. No tests found, a file that cannot be collected, tests that are only set up, a session that ends early, a
// stream of events that is lost or that something else writes to: each is red. So is an os._exit after the session,
// even with status 0: it can hide a failure.
//
// # Hangs
//
// Every phase has a budget, which is a field of [Suite], and go test's -timeout is above them all. A test that has used
// half of its budget is reported live as SLOW. At the end of the budget its stacks are taken, native and Python frames
// together, and the test is red with the cause, as far as the stacks show one; what is inferred is marked so. The file
// hang-*.txt that a red run leaves has everything: files and sockets, child processes, memory, and the threads that a
// fork did not copy. What the process did in its last second tells a test that still works from one that is stuck.
// While a container is paused, or the test process stopped, deadlines do not advance.
//
// What pytest itself does between two tests counts for no test: each hook that plugins and conftests have there may
// take [Suite.FinishTimeout]. If pytest's own process does not continue, it is killed and started again for the tests
// that are left, twice at most. If the agent is kept from acting, its container is killed at a deadline that nothing
// inside it can move.
//
// After the last test of a group, up to three tests of a kind run once more, each alone in a fresh interpreter: one
// that crashed runs under gdb, for its native stacks, and one that hung for lack of what a fork does not copy runs
// without the fork, to confirm that. The result is added to the group's output and to the JUnit file as "(proof)". With
// -failfast this is left out.
//
// SIGINT, SIGTERM, the end of the process that started the tests, and a -timeout that is about to expire end a run in
// order: the stacks of what is running are written to standard error at once, and everything is removed. SIGQUIT to the
// test process writes the same and stops nothing; a second one within two seconds gets Go's own dump.
//
// PYO3TEST_DEBUG=1 with a -run that picks one test runs it in the foreground, in plain pytest with the user's terminal
// and without a deadline: breakpoint() and `--pdb` work, and so does gdb, which is in the container. Add -timeout 0.
//
// In `go test -json`, each test has the attributes pytest.nodeid, pytest.outcome and pytest.seconds.
//
// # Bundles
//
// A test that hangs, crashes or is killed for its memory leaves a bundle, NAME.pyo3test, beside the other evidence; see
// [Suite.Bundles]. `pyo3test repro` runs it: the same test with the same extension, packages, limits and settings, in a
// fresh pytest each time and without a network, as often as is wanted. A test that shares its process with others runs after
// those that ran before it; one that has a process of its own runs alone, because it is forked from a process in which no test
// ran. With --minimise it runs after fewer and fewer of those, to find the fewest that the failure needs.
//
// With --compare it runs in turn with another build of the crate, with the same profile and features and beside the same
// packages, but with the environment of its own settings and without a network. The command says whether that fails less
// often than chance explains (Fisher's exact test). [Repro] keeps a bundle as a regression test.
//
// With --pressure the test's threads are delayed: at calls of the C library that synchronise them, by a library that is loaded
// before all others, and in the crate's own code, which is built once more for that, with hooks (the same sources, and other
// machine code). A delay causes nothing that could not happen without it, so a hang under pressure is a real one; the exception, which
// the command points out, is a test with time limits of its own. The delays are those of a seed for each run, but a seed does not
// fix the order in which threads run: expect a rate, not a replay. Of several kinds of pressure, each is tried 20 times, and half
// of them again, until one is left. Only the runs after that count, and the command says where their delays were. A crate that is compared
// under pressure and never failed is better only if threads were delayed where the bundle's hung. One kind of pressure fills the
// container's memory, but for 32 MiB, and leaves the machine a gigabyte.
//
// If the engine still has the image of that run, and it is of the same tools image, it is used. Otherwise one is made on the
// tools image of this host, with the bundle's extension and the same versions of the packages, as wheels of the host's index:
// nothing is compiled, and no code of a package runs while it is installed. Debian packages that the bundle names are installed
// by apt, and run their scripts in the container. The machine has to be of the same architecture.
//
// `pyo3test repro --full` writes a bundle that holds such a tools image with the packages, in the folder images as an OCI layout of
// one layer, and in that image the crates from crates.io that its sources are built from. It is used instead of this host's, in
// containers without a network, with the harness's programs replaced by those of this version. It may have 8 GiB. Nothing
// that the build of the user's machine made is in the image: what the bundle holds of that is put on it.
//
// A bundle is a zip file. Its first entry, manifest.json, says what happened, how the test ran and with what, and names every
// other entry with its size and SHA-256: the sources as they travelled, what the build made, the recording of the run and
// the report. Two runs of the same content have equal sources, extensions and descriptions in theirs. It holds no variable
// that a Suite does not set. Values that look like credentials, by their names or their form, are masked in all of it: those of
// the Suite, of the host's variables and settings, and of files such as .env and .netrc, which are left out; but no plain word,
// and none of fewer than eight characters. The manifest lists what is missing or masked. Look at what you give away all the
// same: nothing can recognise every secret.
//
// A reader refuses a bundle that is damaged or changed, has links or names that lead elsewhere or entries that it does not know,
// or asks for more memory or processes than a Suite has by default, for more than an hour, or has a larger image (`--limits`
// allows it). Its sources are unpacked into the user's cache folder, and nowhere else.
//
// # What stays
//
// A red run leaves pytest's own output, its JUnit file, and one JUnit file of all groups, in the folder that the last
// line names: that of -artifacts, a folder of PYO3TEST_ARTIFACTS, or the user's cache folder, where the newest twenty
// stay, 1 GiB at most. At most 64 MiB of one file are kept, and 256 MiB of one run; a file that was cut says so at its
// end. Of what a test prints, the log has 64 KiB of each phase, head and tail, and the folder a file with all of it.
// These files have it as it was printed. Where it is shown, control characters are written as \x1b, and a backslash
// breaks what a CI system or a reader of go test's output would take for a command or an event.
//
// PYO3TEST_JUNIT names a file for the JUnit report of every run, or a folder for one file a run; a relative one is
// relative to the package's folder. The report of a red run is red even if no test is to blame: such causes are test
// cases named (build), (setup), (session) or (exit), for example. It is red from the start, and stays red if the run is
// killed.
//
// The engine keeps images of the base, the tools and the last five builds of each crate, and volumes with what cargo
// and uv have fetched and compiled for each crate, and ten with compiled dependencies that checkouts share;
// `pyo3test clean` removes them. Together the builds of all crates may take 20 GB, or what PYO3TEST_BUDGET says: once a
// day a run removes those of the crates that were used least recently until they do, and says so. Containers live as
// long as a stream from the test process, so even kill -9 leaves none.
//
// # What crates share
//
// No code of a project can write what the build or the tests of another project read. A crate, which is a place on this
// host, has three volumes of its own: for what cargo and rustup download, for what uv downloads, and for cargo's target
// folder.
//
// One more volume is shared by the checkouts of a crate: it holds the crates that Cargo.lock names, compiled. It is made
// without the project's own code, and its name covers every file that has content then: the manifests and the lock file.
// Each checkout copies it into its target folder once, and cannot write to it. There is none for a project without
// Cargo.lock, or with a configuration of cargo, which could name programs of the project.
//
// Crates and toolchains are fetched in a container that has the network and the host's credentials and runs no code of
// the project: cargo and rustup run outside the sources, and see only those settings of the project that say where
// crates come from. The build then has no network, no credentials and no capabilities, its memory and processes are
// limited, and it cannot write to what was fetched. [Suite.BuildNetwork] gives a build script the network. The address
// of a registry reaches the build unchanged, because cargo names folders by it: keep passwords out of it.
//
// What the tests need is installed with the network. Packages that come as sources run code then, which can write only
// to uv's volume. Every installed file is then compared with its package's RECORD, and a build that changes one is an
// error. Images and bytecode are kept for each place too, and bytecode is taken before a test can change it.
//
// A project's own files decide what is copied and whether there is a network: path dependencies, requirements and
// [tool.pyo3test] can name any file that you can read. Read those of a stranger's crate before you run it.
//
// One place counts as one project: if branches that do not trust each other are checked out at the same path in turn,
// give each an engine or a path of its own.
//
// # Where it runs
//
// Tests run without a network unless [Suite.Network] says so, as an unprivileged user, with limits. That is a wall
// between them and the host. Inside a group, the tests and the agent that watches them are one user: that guards
// against accidents, not against malice.
//
// The base image is python:3.11 for Debian bookworm with Rust, pinned by digest. If no registry answers, an equivalent
// one is made from Debian's packages, which takes root on Debian. PYO3TEST_BASE_IMAGE names another base, which has to
// bring Python 3.11 or later, Rust and gcc; PYO3TEST_MIRROR is put before the pinned names (some mirrors want it to end
// in /library). If one of these cannot be had, no other base replaces it. Credentials are those of docker login.
// Certificates, proxies and index settings of the host reach the steps that fetch and install, and no others.
package harness
