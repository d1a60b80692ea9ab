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

// Label is the key that every object of ours in an engine carries; the value tells what it is for.
const Label = "pyo3test"

// Owner says which process an object belongs to, so that a later run can tell whether that process is gone.
type Owner struct {
	Session string // random, one a process
	Host    string // host name and, on Linux, the process namespace: a pid means nothing elsewhere
	Boot    string // the boot id where there is one
	PID     int
	Start   string // the process's start, so that a recycled pid is not taken for it
}

func thisProcess() Owner {
	host, _ := os.Hostname()
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	return Owner{Session: rand.Text(), Host: host + namespace, Boot: bootID(), PID: os.Getpid(), Start: processStart(os.Getpid())}
}

func bootID() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data))
}

// processStart is "" for a process that is not there. On Linux it is the kernel's own count of clock ticks, which no
// change of the clock moves.
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

// gone tells whether the process that the labels name is certainly gone. Of another host it never claims that.
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

// Sweep removes the containers of processes of this host that are gone. Running ones have already ended with their
// stream; what it finds was created and never started. It returns how many it removed.
func (e *Engine) Sweep(ctx context.Context) (int, error) {
	list, err := e.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", Label))})
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

// Containers counts the containers of ours, running or not, of a process of this host.
func (e *Engine) Containers(ctx context.Context, pid int) (int, error) {
	args := filters.NewArgs(filters.Arg("label", Label+".pid="+strconv.Itoa(pid)), filters.Arg("label", Label+".host="+e.owner.Host))
	list, err := e.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: args})
	if err != nil {
		return 0, fmt.Errorf("list containers: %w", err)
	}
	return len(list), nil
}
