package project

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// gitTimeout bounds one git command, which takes milliseconds, or a second in the largest repositories.
const gitTimeout = 10 * time.Second

// git reports which files git tracks. Without git, or outside a repository, that is none.
type git struct {
	scope   []string // folders; one git command lists all that a repository tracks in one
	open    Open
	tops    map[string]string // folder -> the top of its repository, or ""
	tracked map[string]map[string]bool
	watched map[string]bool
	problem string // why git does not answer, for the user
}

func newGit(scope []string, open Open) *git {
	return &git{
		scope: scope, open: open,
		tops: map[string]string{}, tracked: map[string]map[string]bool{}, watched: map[string]bool{},
	}
}

// tracks reports whether git tracks a file, or files in a folder.
func (g *git) tracks(path string) bool { return g.tracksWith(filepath.Dir(path), path) }

// tracksWith reports whether the repository of a folder tracks a path.
func (g *git) tracksWith(folder, path string) bool {
	top := g.top(folder)
	if top == "" || !within(top, path) {
		return false
	}
	asked := path
	for _, scope := range g.scope {
		if within(scope, path) {
			asked = scope
		}
	}
	if within(asked, top) {
		asked = top
	}
	key := top + "\x00" + asked
	if _, ok := g.tracked[key]; !ok {
		g.tracked[key] = g.list(top, asked)
	}
	if !g.tracked[key][path] {
		return false
	}
	g.watch(path)
	return true
}

// top returns the nearest folder, at or above the given one, that is the top of a repository.
func (g *git) top(folder string) string {
	if top, ok := g.tops[folder]; ok {
		return top
	}
	top := ""
	if _, err := os.Lstat(filepath.Join(folder, ".git")); err == nil {
		top = folder
	} else if above := filepath.Dir(folder); above != folder {
		top = g.top(above)
	}
	g.tops[folder] = top
	return top
}

// list returns the files below a folder that a repository tracks, and the folders that contain them. The crate may be
// untrusted: its repository must not make git run a program or read another work tree.
func (g *git) list(top, folder string) map[string]bool {
	ctx, cancel := context.WithTimeout(context.Background(), gitTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "git", "--git-dir="+filepath.Join(top, ".git"), "--work-tree="+top,
		"--literal-pathspecs", "-c", "core.fsmonitor=false", "ls-files", "-z", "--", folder)
	command.Dir, command.WaitDelay = top, time.Second
	command.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") }),
		"GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none", "LC_ALL=C")
	output, err := command.Output()
	if err != nil {
		if failed := (*exec.ExitError)(nil); errors.As(err, &failed) && len(failed.Stderr) > 0 {
			err = errors.New(strings.TrimSpace(string(failed.Stderr)))
		}
		g.problem = fmt.Sprintf("git does not say what it tracks in %s, so nothing there counts as tracked: %v", top,
			err)
		return nil
	}
	tracked := map[string]bool{}
	for name := range strings.SplitSeq(string(output), "\x00") {
		for path := filepath.Join(top, filepath.FromSlash(name)); path != top &&
			!tracked[path]; path = filepath.Dir(path) {
			tracked[path] = true
		}
	}
	return tracked
}

// watch tells the test cache that the tree depends on what git tracks. It is not called for untracked folders of builds
// and environments: nearly every crate has some, and each commit would invalidate the cached result.
func (g *git) watch(path string) {
	top := g.top(filepath.Dir(path))
	if top == "" || g.watched[top] {
		return
	}
	g.watched[top] = true
	folder := filepath.Join(top, ".git")
	if info, err := os.Stat(folder); err == nil && info.Mode().IsRegular() { // a work tree's, or a submodule's
		text, err := os.ReadFile(folder)
		if err != nil {
			return
		}
		folder = strings.TrimSpace(strings.TrimPrefix(string(text), "gitdir:"))
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(top, folder)
		}
	}
	if regular(filepath.Join(folder, "index")) != nil {
		return
	}
	if f, err := g.open(filepath.Join(folder, "index")); err == nil {
		_, _ = io.CopyN(io.Discard, f, 1)
		_ = f.Close()
	}
}
