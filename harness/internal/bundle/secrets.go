package bundle

import (
	"bytes"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"pyo3test/harness/internal/layout"
)

// Secrets are values that must not leave this machine.
type Secrets struct{ values [][]byte }

// leastSecret is the length from which on a value is searched for in files, in bytes: shorter ones, such as "test" or
// "none", are words.
const leastSecret = 8

// HostSecrets returns the values of this process's variables that look like credentials, the passwords in URLs, and what
// programs keep in texts, such as those of .netrc and of cargo's credentials.toml.
func HostSecrets(texts []string) Secrets { return secretsOf(os.Environ(), texts) }

// kept matches credentials in the files of programs: password and token, or what a key of such a name has for a value.
var kept = regexp.MustCompile(`(?im)^.*?(?:password|passwd|token|secret|_key)\w*"?\s*[=:\s]\s*"?([^\s"']+)|://[^\s/:@]*:([^\s/@]+)@`)

func secretsOf(environment, texts []string) (s Secrets) {
	add := func(value string) {
		if len(value) >= leastSecret {
			s.values = append(s.values, []byte(value))
		}
	}
	for _, each := range environment {
		name, value, _ := strings.Cut(each, "=")
		if isSecretName(name) && !strings.HasPrefix(value, "/") { // a path is no secret
			add(value)
		}
		if u, err := url.Parse(value); err == nil && u.User != nil {
			if password, ok := u.User.Password(); ok {
				add(password)
			}
		}
	}
	for _, text := range texts {
		for _, found := range kept.FindAllStringSubmatch(text, -1) {
			add(found[1])
			add(found[2])
		}
	}
	// The longest first: one may be a part of another.
	slices.SortFunc(s.values, func(a, b []byte) int { return len(b) - len(a) })
	return s
}

// secretName matches the names of variables that hold credentials, by whole words.
var secretName = regexp.MustCompile(`(?i)(^|_)(token|tokens|secret|secrets|password|passwd|passphrase|pass|pwd|pat|apikey|api_key|` +
	`access_key|private_key|signing_key|encryption_key|account_key|key|credential|credentials|auth|cookie|dsn|jwt|otp|pin)($|_)`)

func isSecretName(name string) bool { return secretName.MatchString(name) }

// secretFile matches the names of files that programs keep credentials in.
var secretFile = regexp.MustCompile(`(?i)^(\.env(\..*)?|\.netrc|_netrc|\.pypirc|\.npmrc|\.git-credentials|\.htpasswd|\.pgpass|` +
	`credentials(\.(json|toml|yaml|yml|ini))?|id_(rsa|dsa|ecdsa|ed25519)|.*\.(pem|key|p12|pfx|jks|keystore|kdbx|tfstate))$`)

func isSecretFile(name string) bool { return secretFile.MatchString(name) }

// secretValue matches values that are credentials by their form: those of GitHub, GitLab, Slack, AWS, Google, npm, PyPI,
// Stripe, OpenAI and Anthropic as their makers describe them, JSON web tokens, private keys, and passwords in URLs. The
// first group, if it matches, is the part to mask.
var secretValue = regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{22,}|\bglpat-[\w-]{20,}|` +
	`\bxox[abposr]-[A-Za-z0-9-]{10,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{35}|\bnpm_[A-Za-z0-9]{36}|\bpypi-[\w-]{50,}|` +
	`\b[rs]k_live_[A-Za-z0-9]{20,}|\bsk-[\w-]{32,}|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}|` +
	`-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]+-----END [A-Z ]*PRIVATE KEY-----|` +
	`\b[a-z][a-z0-9+.-]*://[^\s/:@"'<>{}$%]*:([^\s/:@"'<>{}$%]{3,})@`)

// Mask replaces what looks like a credential by as many X, and reports whether there was any. In files that are not text
// it looks for the host's own values only.
func (s Secrets) Mask(data []byte) (masked []byte, found bool) {
	hide := func(from, to int) {
		if !found {
			data, found = bytes.Clone(data), true
		}
		for i := from; i < to; i++ {
			data[i] = 'X'
		}
	}
	for _, value := range s.values {
		for from := 0; ; from += len(value) {
			at := bytes.Index(data[from:], value)
			if at < 0 {
				break
			}
			from += at
			hide(from, from+len(value))
		}
	}
	if !utf8.Valid(data) {
		return data, found
	}
	for _, at := range secretValue.FindAllSubmatchIndex(data, -1) {
		if at[2] >= 0 {
			at = at[2:]
		}
		hide(at[0], at[1])
	}
	return data, found
}

// inBuilt reports whether a path of the container is one that a build writes to, and that an image is made of.
func inBuilt(below string) bool {
	for _, folder := range []string{layout.BuiltTree, path.Join(layout.Venv, "lib"), path.Join(layout.Venv, "bin")} {
		if strings.HasPrefix("/"+below, folder+"/") {
			return true
		}
	}
	return false
}
