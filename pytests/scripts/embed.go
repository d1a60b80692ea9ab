// Package scripts brings the helper script along, which tests a crate without Docker and without Go.
package scripts

import _ "embed"

// TestPython is the script.
//
//go:embed test-python.sh
var TestPython []byte
