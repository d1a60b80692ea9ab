// Package layout defines the paths inside a container, and the user that owns what the harness writes there.
package layout

// Paths of the tools image.
const (
	Home      = "/opt/pyo3test"     // all of the harness's files
	Tools     = Home + "/tools/bin" // uv, pip, maturin, py-spy and their Python
	Images    = Home + "/images"    // the scripts and locks that make the tools image
	Agent     = Home + "/agent"     // the agent's programs
	Build     = Home + "/build"     // the build's programs
	Built     = Home + "/built"     // what a build wrote into the sources
	BuiltTree = Built + "/tree"     // the same, by its path below Sources
	Out       = Home + "/out"       // what a group leaves behind as evidence
	Venv      = "/opt/venv"         // the test environment, empty in the tools image
	// FetchPath is the PATH without what the project may have installed.
	FetchPath = Tools + ":/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	Path      = Venv + "/bin:" + FetchPath
)

// Paths of builds and tests.
const (
	Sources  = "/src"             // the user's tree is unpacked below it
	Scratch  = "/run/pyo3test"    // a tmpfs with the host's network settings, so that no layer keeps them
	Cache    = "/cache"           // a volume: what cargo and rustup have downloaded
	Packages = Cache + "/uv"      // a volume: what uv has downloaded
	Target   = "/build"           // a volume: cargo's target folder is in it
	CargoDir = Target + "/target" // cargo's target folder
	Crates   = "/crates"          // a volume: a target folder with the crates that this one depends on, compiled
)

// User is the user and group that builds and tests.
const User = "1000:1000"
