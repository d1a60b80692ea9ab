package main

import "os"

// watchKeys watches none: a console of Windows has no such mode.
func watchKeys(*os.File, func()) (stop func()) { return nil }
