package protocol

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var commands = []Command{Start{}, Run{}, AskDump{}, AskPace{}, Kill{}, Stop{}}

// TestMessages: each example of a message, which the agent's own tests read too, is one of the types, and they have no
// field that the example lacks.
func TestMessages(t *testing.T) {
	data, err := os.ReadFile("../agent/python/tests/messages.jsonl")
	require.NoError(t, err)
	unseen := slices.Collect(maps.Keys(events))
	for _, c := range commands {
		unseen = append(unseen, c.Name())
	}
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		var head struct{ Cmd, Ev string }
		require.NoError(t, json.Unmarshal(line, &head), string(line))
		unseen = slices.DeleteFunc(unseen, func(name string) bool { return name == head.Cmd || name == head.Ev })
		if head.Cmd == "" {
			e, err := Decode(line)
			require.NoError(t, err)
			require.Equal(t, head.Ev, e.Kind())
			strictly(t, line, reflect.TypeOf(e), "ev", "t")
			continue
		}
		at := slices.IndexFunc(commands, func(c Command) bool { return c.Name() == head.Cmd })
		require.GreaterOrEqual(t, at, 0, head.Cmd)
		value := strictly(t, line, reflect.TypeOf(commands[at]), "cmd")
		encoded, err := Encode(value.Interface().(Command))
		require.NoError(t, err)
		require.Equal(t, string(line)+"\n", string(encoded))
	}
	require.Empty(t, unseen, "they have no example")
}

// strictly decodes a line, which may have no field that the type lacks, beside some.
func strictly(t *testing.T, line []byte, kind reflect.Type, beside ...string) reflect.Value {
	t.Helper()
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(line, &fields))
	for _, name := range beside {
		delete(fields, name)
	}
	rest, err := json.Marshal(fields)
	require.NoError(t, err)
	value := reflect.New(kind)
	decoder := json.NewDecoder(bytes.NewReader(rest))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(value.Interface()), string(line))
	return value.Elem()
}

// TestVersion checks that an agent of another version is refused at its first event.
func TestVersion(t *testing.T) {
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
		`{"ev":"report","t":1.5,"index":0,"when":"call","outcome":"failed","duration":0.1,"longrepr":"x","sections":[["a","b"]],"wasxfail":null,"subtest":{"description":"s"}}`,
		`{"ev":"finish","index":0,"pid":7,"exit":null,"signal":9,"complete":false,"killed":"hung"}`,
		`{"ev":"item","index":0,"nodeid":"a.py::t","junit":["a","t"],"timeout":1e3}`,
		`{"ev":"collect-skip","junit":["","a"]}`,
		`{"ev":"exit","exit":0,"signal":null,"memory":""}`, `{"ev":"junit","data":"PHg+"}`,
		`{"ev":"dump","stacks":[{"frames":null}]}`,
		`{"ev":"deadlock","pid":7,"after":2.1,"threads":2,"text":"thread 7"}`,
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
		require.Equal(t, events[e.Kind()], reflect.TypeOf(e))
		if test, ok := e.(TestEvent); ok {
			require.GreaterOrEqual(t, test.TestIndex(), 0)
		}
	})
}
