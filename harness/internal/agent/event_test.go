package agent

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProtocol checks that an agent of another version is refused at its first event.
func TestProtocol(t *testing.T) {
	_, err := Decode([]byte(`{"ev":"ready","pid":7,"protocol":1}`))
	require.NoError(t, err)
	for _, line := range []string{`{"ev":"ready","pid":7,"protocol":2}`, `{"ev":"ready","pid":7}`} {
		_, err := Decode([]byte(line))
		require.ErrorContains(t, err, "and this harness version 1: remove the tools image with `pyo3test clean`")
	}
}

// FuzzDecode checks that whatever decodes is an event of the protocol, with the properties that callers rely on.
func FuzzDecode(f *testing.F) {
	for _, line := range []string{
		`{"ev":"report","t":1.5,"index":0,"pid":7,"when":"call","outcome":"failed","duration":0.1,"longrepr":"x","sections":[["a","b"]],"wasxfail":null,"subtest":{"description":"s"}}`,
		`{"ev":"finish","index":0,"pid":7,"exit":null,"signal":9,"complete":false,"killed":"hung"}`,
		`{"ev":"item","index":0,"nodeid":"a.py::t","junit":["a","t"],"timeout":1e3}`, `{"ev":"collect-skip","junit":["","a"]}`,
		`{"ev":"exit","exit":0,"signal":null,"memory":""}`, `{"ev":"junit","data":"PHg+"}`, `{"ev":"dump","stacks":[{"frames":null}]}`,
		`{"ev":"deadlock","index":0,"pid":7,"after":2.1,"threads":2,"text":"thread 7"}`,
		`{"ev":"item","index":-1,"junit":["a"]}`, `{"ev":"fly"}`, `[]`, `{"ev":"phase","index":1e99}`, "\xff",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := Decode(line)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.True(t, slices.Contains(kinds, e.Kind))
		require.GreaterOrEqual(t, e.Index, 0)
		require.GreaterOrEqual(t, e.PID, 0)
		if e.Kind == Item || e.Kind == CollectError || e.Kind == CollectSkip {
			require.Len(t, e.JUnitName, 2)
		}
	})
}
