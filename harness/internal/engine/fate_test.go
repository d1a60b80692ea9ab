package engine

import (
	"testing"

	"github.com/docker/docker/api/types/events"
	"github.com/stretchr/testify/require"
)

func TestFate(t *testing.T) {
	event := func(action events.Action, key, value string) events.Message {
		return events.Message{Action: action, Actor: events.Actor{Attributes: map[string]string{key: value}}}
	}
	died := event(events.ActionDie, "exitCode", "137")
	require.Equal(t, "the tests' container was stopped from outside, as docker stop, kill and rm -f do: by signal 15 "+
		"and 9, with exit code 137",

		fate([]events.Message{event(events.ActionKill, "signal", "15"), event(events.ActionKill, "signal", "9"), died}))
	require.Equal(t, "the tests' container ended with exit code 137, after it had reached its memory limit, and "+
		"nothing outside stopped it: did a test kill its first processes?",

		fate([]events.Message{event(events.ActionOOM, "", ""), died}))
}
