package engine

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/shirou/gopsutil/v4/process"
)

// Label is the key that all objects of the harness in an engine carry; the value is the object's purpose.
const Label = "pyo3test"

// Owner identifies the process that an object belongs to, so that a later run can tell whether that process is gone.
type Owner struct {
	Session string // random, one per process
	Host    string // host name and, on Linux, the process namespace: a pid means nothing elsewhere
	Boot    string // the boot id, if there is one
	PID     int
	Start   string // the process's start time, so that a reused pid is not taken for it
}

func thisProcess() Owner {
	host, _ := os.Hostname()
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	return Owner{Session: rand.Text(), Host: host + namespace, Boot: bootID(), PID: os.Getpid(),
		Start: processStart(os.Getpid())}
}

func bootID() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data))
}

// processStart returns the start time of a process, or "" if it does not exist. On Linux this is the kernel's count of
// clock ticks, which setting the clock does not change.
func processStart(pid int) string {
	if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		text := string(data)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(fields) > 19 {
			if fields[0] == "Z" {
				return ""
			}
			return fields[19]
		}
	}
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return ""
	}
	created, err := p.CreateTime()
	if err != nil {
		return ""
	}
	return strconv.FormatInt(created, 10)
}

func (o Owner) labels(purpose string) map[string]string {
	return map[string]string{
		Label:              purpose,
		Label + ".session": o.Session,
		Label + ".host":    o.Host,
		Label + ".boot":    o.Boot,
		Label + ".pid":     strconv.Itoa(o.PID),
		Label + ".start":   o.Start,
	}
}

// gone reports whether the process that the labels name is certainly gone. It is always false for a process of another
// host.
func (o Owner) gone(labels map[string]string) bool {
	if labels[Label+".host"] != o.Host {
		return false
	}
	if labels[Label+".boot"] != o.Boot {
		return true
	}
	pid, err := strconv.Atoi(labels[Label+".pid"])
	if err != nil {
		return false
	}
	return processStart(pid) != labels[Label+".start"]
}

// Sweep removes the containers of this host's processes that are gone, and returns how many it removed. Running ones
// have already ended with their stream, so what it finds was created but never started.
func (e *Engine) Sweep(ctx context.Context) (int, error) {
	list, err := e.cli.ContainerList(ctx,
		container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", Label))})
	if err != nil {
		return 0, fmt.Errorf("list containers: %w", err)
	}
	removed := 0
	for _, c := range list {
		if !e.owner.gone(c.Labels) {
			continue
		}
		if err := e.remove(ctx, c.ID); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// Containers returns how many containers of the harness, running or not, belong to a process of this host.
func (e *Engine) Containers(ctx context.Context, pid int) (int, error) {
	args := filters.NewArgs(filters.Arg("label", Label+".pid="+strconv.Itoa(pid)),
		filters.Arg("label", Label+".host="+e.owner.Host))
	list, err := e.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: args})
	if err != nil {
		return 0, fmt.Errorf("list containers: %w", err)
	}
	return len(list), nil
}
