package subtest

// The attributes that a run gives its tests under go test -json.
const (
	NodeID  = "pytest.nodeid"  // pytest's name of a test, or of a file that could not be collected
	Outcome = "pytest.outcome" // its result, one of verdict.Outcomes
	Seconds = "pytest.seconds" // its time
	Subtest = "pytest.subtest" // of a subtest of pytest's: its own name
	Left    = "pytest.left"    // how many processes it left running
	Tests   = "pytest.tests"   // of a group: how many tests are to run
	Files   = "pytest.files"   // of a group: in how many files they are
	Phases  = "pytest.phases"  // of a group: the seconds of each phase, as "start 0.6  collect 0.4"
	Summary = "pytest.summary" // of a group: its last line
	Cause   = "pytest.cause"   // of a run or a group: what kept tests from running
)
