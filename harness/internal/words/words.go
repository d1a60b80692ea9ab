// Package words puts numbers into sentences.
package words

import "fmt"

// Count says how many there are of something: 1 test, 2 tests.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
