package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// fateTimeout bounds how long the engine may take to report the end of a container.
const fateTimeout = 3 * time.Second

// Fate returns how a container ended that this process did not remove: what ended it, and with which exit code. It
// returns "" if the container is running or the engine does not answer. The container itself may be gone, so Fate reads
// the engine's recent events.
func (c *Container) Fate(ctx context.Context) string {
	if c == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, fateTimeout)
	defer cancel()
	told, failed := c.engine.cli.Events(ctx, events.ListOptions{Since: "1", Filters: filters.NewArgs(
		filters.Arg("container", c.ID), filters.Arg("event", string(events.ActionKill)),
		filters.Arg("event", string(events.ActionOOM)), filters.Arg("event", string(events.ActionDie)))})
	var seen []events.Message
	for {
		select {
		case e := <-told:
			if seen = append(seen, e); e.Action == events.ActionDie {
				return fate(seen)
			}
		case <-failed:
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fateTimeout)
			defer cancel()
			if running, err := c.Running(ctx); running || err != nil {
				return ""
			}
			return "the tests' container is gone: was it removed, or its engine started again?"
		}
	}
}

// fate describes the end of a container from its events.
func fate(seen []events.Message) string {
	var signals []string
	exit, memory := "", ""
	for _, e := range seen {
		switch e.Action {
		case events.ActionKill:
			signals = append(signals, e.Actor.Attributes["signal"])
		case events.ActionOOM:
			memory = ", after it had reached its memory limit"
		case events.ActionDie:
			exit = e.Actor.Attributes["exitCode"]
		}
	}
	if len(signals) == 0 {
		return fmt.Sprintf("the tests' container ended with exit code %s%s, and nothing outside stopped it: did a "+
			"test kill its first processes?",
			exit, memory)
	}
	return fmt.Sprintf("the tests' container was stopped from outside, as docker stop, kill and rm -f do: by "+
		"signal %s, with exit code %s%s",

		strings.Join(signals, " and "), exit, memory)
}
