// Package helper has the script that init writes, which tests a crate without Docker and without Go.
package helper

import _ "embed"

// TestPython is the script.
//
//go:embed test-python.sh
var TestPython []byte
