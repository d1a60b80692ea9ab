package doctor

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
)

// reachTimeout bounds the check of one index, which takes about a second.
const reachTimeout = time.Minute

// indexes holds the indexes that builds fetch from, each with a command that has to work before it can be asked, if there
// is one, and a command that asks it for what every build needs, without keeping anything.
var indexes = []struct{ name, first, script string }{
	{"the index of Python packages", "",
		"echo pytest | exec uv pip compile --quiet --no-cache --no-deps --color never - >/dev/null"},
	// Without a default toolchain, rustup leaves the choice to the crate's rust-toolchain file. Here there is none.
	{"the index of crates", "cargo --version",
		`mkdir -p /tmp/reach/src && cd /tmp/reach && : >src/lib.rs && printf '[package]\nname = "reach"\nedition = "2021"\n[dependencies]\npyo3 = "0.20"\n' >Cargo.toml && exec cargo generate-lockfile --quiet`},
}

// Network checks whether builds in a container of a tools image reach the package indexes, with the host's network
// settings. red reports whether a run failed; if not, what is already built runs without the indexes.
func Network(ctx context.Context, e *engine.Engine, tools string, red bool) (found []Finding, err error) {
	network, err := image.HostNetwork()
	if err != nil {
		return nil, err
	}
	c, err := image.StartBuilder(ctx, e, network, engine.Spec{Image: tools, Purpose: "doctor", User: layout.User})
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Remove(context.WithoutCancel(ctx)) }()
	env := append(network.Env(), "PATH="+layout.Path, "UV_HTTP_TIMEOUT=10", "UV_HTTP_RETRIES=0",
		"CARGO_HTTP_TIMEOUT=10", "CARGO_NET_RETRY=0", "CARGO_TERM_COLOR=never")
	ask := func(script string) (words string, err error) {
		within, cancel := context.WithTimeout(ctx, reachTimeout)
		defer cancel()
		var said bytes.Buffer
		err = image.Run(within, c, engine.Command{Argv: []string{"sh", "-c", script}, Env: env}, nil, &said)
		if within.Err() != nil {
			return fmt.Sprintf("no answer within %v", reachTimeout), err
		}
		return lastWords(said.String()), err
	}
	for _, index := range indexes {
		if index.first != "" {
			words, err := ask(index.first)
			if err != nil && words != "" && ctx.Err() == nil {
				found = append(found, Finding{
					Check: "network", Level: Note,
					What: fmt.Sprintf("whether builds reach %s was not tried: %s", index.name, words),
					Why:  "the base image has no cargo that works in every crate",
					Fix:  "nothing, where each crate has a rust-toolchain file",
				})
				continue
			}
		}
		words, err := ask(index.script)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err == nil {
			continue
		}
		finding := Finding{Check: "network", Level: Note,
			What: fmt.Sprintf("builds do not reach %s: %s", index.name, words), Fix: fixOfNetwork(words),
			Why: "what is built already runs; a new requirement, or a change of Cargo.lock, cannot be built (" +
				network.String() + ")"}
		if red {
			finding.Level, finding.Why = Breaks, "a build takes from there what it does not have yet ("+
				network.String()+")"
		}
		found = append(found, finding)
	}
	if len(found) == 0 {
		found = []Finding{{Check: "network", Level: Fine,
			What: "builds reach the indexes of Python packages and of crates (" + network.String() + ")"}}
	}
	return found, nil
}

var certificate = regexp.MustCompile(`(?i)certificate|UnknownIssuer|\bSSL\b`)

// fixOfNetwork returns what helps, judged by the message of uv or cargo.
func fixOfNetwork(words string) string {
	if certificate.MatchString(words) {
		return "name the file of the company's certificate in SSL_CERT_FILE, or add it to those of the " +
			"system: both reach the build"
	}
	return "set HTTPS_PROXY, or name an index that answers in PIP_INDEX_URL or cargo's [source]: a proxy on this " +
		"machine's localhost is another one in a container"
}

// lastWords returns the end of a tool's output, which has the reason, in one line.
func lastWords(said string) string {
	lines := strings.FieldsFunc(said, func(r rune) bool { return r == '\n' })
	var words []string
	for _, line := range lines[max(0, len(lines)-4):] {
		if line = strings.Trim(line, " ×╰─▶├"); line != "" && line != "Caused by:" {
			words = append(words, line)
		}
	}
	return strings.Join(words, "; ")
}
