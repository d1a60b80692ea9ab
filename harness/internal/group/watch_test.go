package group

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/protocol"
)

// impatient is a session whose error may be asked for only after its last event, as that of an agent.
type impatient struct {
	*script
	t    *testing.T
	last bool
}

func (e *impatient) Err() error {
	require.True(e.t, e.last, "asked for while events come")
	return errors.New("broken off")
}

// heard is a listener that counts.
type heard struct {
	events  int
	session *impatient
}

func (h *heard) event(protocol.Event) error {
	h.events++
	h.session.last = h.events == 3
	return nil
}

func (h *heard) tick(time.Time) error { return nil }
func (h *heard) ended(error)          {}

// TestListen: each event is passed on before the end of the stream is judged.
func TestListen(t *testing.T) {
	session := &impatient{script: newScript([]string{`{"ev":"beat","cpu":1}`, `{"ev":"beat","cpu":2}`,
		`{"ev":"beat","cpu":3}`}), t: t}
	h := &heard{session: session}
	err := listen(t.Context(), session, h)
	require.EqualError(t, err, "broken off")
	var broken *brokenStream
	require.ErrorAs(t, err, &broken)
	require.Equal(t, 3, h.events)
}
