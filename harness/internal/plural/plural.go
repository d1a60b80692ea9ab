// Package plural puts numbers of things into sentences.
package plural

import "fmt"

// Count returns a number with its noun: "1 test", "2 tests".
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
