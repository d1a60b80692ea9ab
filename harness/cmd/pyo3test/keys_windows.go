package main

import "os"

// watchKeys does nothing: a Windows console has no such mode.
func watchKeys(*os.File, func()) (stop func()) { return nil }
