package hang

// What helps, by cause, and why. The functions are PyO3's and Rust's.
const (
	cureCycle = "do not wait while the thread is attached: wrap the blocking call in " +
		"Python::detach, or take the lock by\n" +
		"pyo3::sync::MutexExt::lock_py_attached, which detaches while it waits; then the thread that has " +
		"the lock can get the GIL."
	cureStopTheWorld = "do not wait while the thread is attached: wrap the blocking call in Python::detach, or take the lock by\n" +
		"pyo3::sync::MutexExt::lock_py_attached, which detaches while it waits; then the world can stop."
	cureInitialiser = "use pyo3::sync::PyOnceLock, or pyo3::sync::OnceExt (call_once_py_attached) and OnceLockExt " +
		"with a std type: they detach\n" +
		"while they wait. Or initialise before any thread starts, without calling into Python."
	cureDetach = "wrap the part that blocks or computes in Python::detach, so that other threads and signal " +
		"handlers run meanwhile;\n" +
		"in a loop call Python::check_signals now and then."
	cureJoin = "wrap the join in Python::detach, so that the thread can get the GIL and end; in a Drop that " +
		"may run while attached,\n" +
		"tell the thread to end and join it elsewhere, for instance in a close() that the test calls."
	cureReentrant = "compute the value without the function that asks for it: what a lock or an initialiser " +
		"guards must not be asked for\n" +
		"while it is held."
	cureFork = "make pools, runtimes and locks on their first use, not at import, and key them by process id; or " +
		"give each test a fresh\n" +
		"interpreter (Isolation: Subprocess, pyo3test run --isolation subprocess), which " +
		"inherits nothing through a fork."
	curePythonLock = "find the code that acquires it and returns without releasing it: use `with lock:`, or " +
		"a timeout with a message."
	curePythonLoop = "raise the test's budget if it is only slow (TestTimeout, or pytest.mark.timeout)."
	cureChild      = "give the wait a timeout, and end the child in a finally; a child that waits for its input ends " +
		"when its pipe is closed."
	cureNetwork    = "give sockets a timeout; what has to reach another host needs network = true in [tool.pyo3test] (Network of a Suite)."
	cureNativeWait = "check the thread that should wake it: it has ended, or waits too. The stacks " +
		"show which threads exist."
	cureExitThread = "stop and join the thread before the session ends, in a fixture's tear-down; or make it a " +
		"daemon if it may be cut off."
	cureForkBomb = "bound how many processes it starts, and end each with os._exit; Suite.Processes " +
		"is the limit of a group."
	cureStopped = "find what sends it (os.kill, os.killpg, signal.raise_signal); SIGCONT lets a " +
		"stopped process continue."
	cureExit = "join threads before the interpreter ends, with Python::detach around the join; an exit " +
		"handler runs with the GIL held."
)
