package extension

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/plural"
)

const (
	// BudgetVariable is the environment variable with the budget, such as 50GB; 0 is none.
	BudgetVariable = "PYO3TEST_BUDGET"
	// defaultBudget bounds what the builds of all crates may take in an engine, in bytes.
	defaultBudget = 20e9
	// trimInterval is how often the sizes are measured: for volumes the engine reads every file.
	trimInterval = 24 * time.Hour
	// recent is the time since its last use in which nothing of a crate is removed.
	recent = time.Hour
)

// Trim keeps what this user's builds of all crates take in the engine within the budget: it removes those of the crates
// that were used least recently, and returns a sentence about it, "" if nothing was removed. It measures once a day.
func Trim(ctx context.Context, e *engine.Engine) (string, error) {
	budget, err := BudgetBytes()
	if err != nil {
		return "", err
	}
	folder, err := usesFolder()
	if err != nil {
		return "", err
	}
	now := time.Now()
	measured := filepath.Join(folder, "measured")
	if info, err := os.Stat(measured); budget == 0 || err == nil && now.Sub(info.ModTime()) < trimInterval {
		return "", nil
	}
	if err := stamp(measured); err != nil {
		return "", err
	}
	objects, err := e.Objects(ctx)
	if err != nil {
		return "", err
	}
	builds, total := buildsOf(objects, func(crate string) time.Time {
		info, err := os.Stat(filepath.Join(folder, crate))
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	})
	chosen := surplus(builds, total, budget, now)
	var freed int64
	for _, each := range chosen {
		for _, o := range each.objects {
			gone, err := e.RemoveObject(ctx, o)
			if err != nil {
				return "", err
			}
			if gone {
				freed += o.Size
			}
		}
		_ = os.Remove(filepath.Join(folder, each.crate))
	}
	if freed == 0 {
		return "", nil
	}
	return fmt.Sprintf("removed the builds of %s (%s), the last one unused for %s: builds took %s of a budget of %s (%s)",
		plural.Count(len(chosen), "crate"), units.HumanSize(float64(freed)),
		strings.ToLower(units.HumanDuration(now.Sub(chosen[len(chosen)-1].used))), units.HumanSize(float64(total)),
		units.HumanSize(float64(budget)), BudgetVariable), nil
}

// BudgetBytes returns the budget, 0 for none, or an error if the variable cannot be read.
func BudgetBytes() (int64, error) {
	text := os.Getenv(BudgetVariable)
	if text == "" {
		return defaultBudget, nil
	}
	budget, err := units.FromHumanSize(text)
	if err != nil || budget < 0 {
		return 0, fmt.Errorf("%s=%s: it is a size such as 50GB, or 0 for no budget", BudgetVariable, text)
	}
	return budget, nil
}

// usesFolder returns the folder with a file for each crate, whose time is that of the crate's last use.
func usesFolder() (string, error) {
	folder, err := cache.Folder()
	if err != nil {
		return "", err
	}
	folder = filepath.Join(folder, "uses")
	return folder, cache.Failed(os.MkdirAll(folder, 0o755))
}

// markUsed records that a crate, or a volume of compiled crates, is used now.
func markUsed(id string) error {
	folder, err := usesFolder()
	if err != nil {
		return err
	}
	return stamp(filepath.Join(folder, id))
}

// used reports whether a crate, or a volume of compiled crates, was ever used by this user.
func used(id string) bool {
	folder, err := usesFolder()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(folder, id))
	return err == nil
}

// stamp gives a file the current time, and creates it first.
func stamp(path string) error {
	now := time.Now()
	if os.Chtimes(path, now, now) == nil {
		return nil
	}
	return cache.Failed(os.WriteFile(path, nil, 0o644))
}

// builds is what the engine holds of the builds of one crate.
type builds struct {
	crate   string
	objects []engine.Object // an image after those that are made from it, which go first
	size    int64
	used    time.Time
	busy    bool
}

// buildsOf sorts objects by crate. lastUse returns when this user last used a crate; those that the user never used,
// which are another's on the same engine, are left out.
func buildsOf(objects []engine.Object, lastUse func(crate string) time.Time) (all []*builds, total int64) {
	byCrate := map[string]*builds{}
	for _, o := range objects {
		crate := crateOf(o)
		if crate == "" {
			continue
		}
		if byCrate[crate] == nil {
			used := lastUse(crate)
			if used.IsZero() {
				continue
			}
			byCrate[crate] = &builds{crate: crate, used: used}
			all = append(all, byCrate[crate])
		}
		b := byCrate[crate]
		b.objects, b.size, b.busy = append(b.objects, o), b.size+o.Size, b.busy || o.Busy
		total += o.Size
	}
	return all, total
}

// crateOf returns the id of the crate that an object was made for, "" if it is for all crates. A volume of compiled
// dependencies counts as a crate of its own.
func crateOf(o engine.Object) string {
	switch o.Kind {
	case "image":
		return cmp.Or(o.Labels[crateLabel], o.Labels[environmentLabel])
	case "volume":
		if at := strings.LastIndexByte(o.Name, '-'); at >= 0 {
			return o.Name[at+1:]
		}
	}
	return ""
}

// surplus returns the builds to remove so that the rest is within the budget, those first that were used least recently.
func surplus(all []*builds, total, budget int64, now time.Time) (chosen []*builds) {
	slices.SortFunc(all, func(a, b *builds) int { return a.used.Compare(b.used) })
	for _, each := range all {
		if total <= budget {
			break
		}
		if !each.busy && now.Sub(each.used) >= recent {
			chosen = append(chosen, each)
			total -= each.size
		}
	}
	return chosen
}
