package hang

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStopped(t *testing.T) {
	running := Cause{Key: Unknown, Sentence: "unknown"}
	for facts, want := range map[string]string{
		"thread 17 'python': state S, switches 3+4\nfile 0: state T, x": "unknown",
		"thread 17 'py(': state T, switches 3+4, wchan 0, syscall 1": "process 17 is stopped by " +
			"a signal such as SIGSTOP",

		"thread 18 'python': state T, switches 3+4": "unknown",
		"descendant 20 of 17: state T, python -c x": "process 20, which it has started, is stopped by a signal " +
			"such as SIGSTOP: python -c x",
	} {
		require.Equal(t, want, running.Stopped(17, facts).Sentence, facts)
	}
}
