package hang

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSignature: hangs in different places have different signatures, and that of a place does not depend on what differs
// from run to run.
func TestSignature(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.Greater(t, len(files), 40)
	places := map[string]string{}
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "3.14") { // the same places on another Python
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		signature := signatureOf(string(text))
		require.Len(t, signature, 12)
		require.Equal(t, signature, signatureOf(renumbered(t, string(text))), file)
		other, ok := places[signature]
		require.False(t, ok, "%s and %s", file, other)
		places[signature] = file
	}
}

// signatureOf returns the signature of a process that waits.
func signatureOf(stacks string) string {
	d := Dump{PID: 7, Stacks: json.RawMessage(stacks)}
	return Report{Dump: d, Cause: d.Diagnose(Circumstances{})}.Signature()
}

// renumbered returns stacks of another run in the same place: other threads, addresses and lines, and the threads in
// another order.
func renumbered(t *testing.T, stacks string) string {
	t.Helper()
	var threads []map[string]any
	require.NoError(t, json.Unmarshal([]byte(stacks), &threads))
	for i, each := range threads {
		each["os_thread_id"] = each["os_thread_id"].(float64) + 1000
		if wait, ok := each["wait"].(map[string]any); ok && wait["joins"] != nil && wait["joins"] != 0.0 {
			wait["joins"] = wait["joins"].(float64) + 1000
		}
		threads[i] = each
	}
	text, err := json.Marshal(threads)
	require.NoError(t, err)
	return regexp.MustCompile(`"line":(\d+)`).ReplaceAllString(string(text), `"line":9$1`)
}

// TestSignatureOfLoop: where a process that works is at the moment of its dump says nothing. A loop works, even if the machine had
// no processor for it.
func TestSignatureOfLoop(t *testing.T) {
	at := func(key Key, function string, cpu float64) string {
		d := Dump{PID: 7, Stacks: json.RawMessage(`[{"thread_name":"MainThread","os_thread_id":7,"active":true,"frames":[
			{"name":"` + function + `","filename":"/src/a.py","line":3},{"name":"test","filename":"/src/t.py","line":1}]}]`)}
		return Report{Dump: d, Cause: Cause{Key: key}, Before: &Pace{At: 1, CPU: 0}, Now: &Pace{At: 2, CPU: cpu}}.Signature()
	}
	require.Equal(t, at(PythonLoop, "f", 1), at(PythonLoop, "g", 0))
	require.Equal(t, at(NativeLoopGIL, "f", 0), at(NativeLoopGIL, "g", 1))
	require.Equal(t, at(NativeWait, "f", 1), at(NativeWait, "g", 1))
	require.NotEqual(t, at(NativeWait, "f", 0), at(NativeWait, "g", 0))
}

func TestCrashSignature(t *testing.T) {
	const said = `Fatal Python error: Segmentation fault

Current thread 0x00007f12 (most recent call first):
  File "/src/tests/test_raw.py", line 17 in read
  File "/src/tests/test_raw.py", line 21 in test_read
  File "/opt/venv/lib/python3.11/site-packages/_pytest/python.py", line 194 in pytest_pyfunc_call

Thread 0x00007f13 (most recent call first):
  File "/src/tests/test_raw.py", line 5 in other
`
	here := CrashSignature("crashed by 11", said)
	require.Equal(t, here, CrashSignature("crashed by 11", strings.NewReplacer("7f12", "8a00", "line 17", "line 18", "in other",
		"in third").Replace(said)))
	require.NotEqual(t, here, CrashSignature("crashed by 6", said))
	require.NotEqual(t, here, CrashSignature("crashed by 11", strings.Replace(said, "in read", "in write", 1)))
	require.Empty(t, CrashSignature("crashed by 11", ""), "nothing was seen")
}
