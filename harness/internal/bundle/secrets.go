package bundle

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"path"
	"path/filepath"
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

// word matches a value that is no secret, whatever it is called: postgres, or Development.
var word = regexp.MustCompile(`^([a-z]{1,15}|[A-Z][a-z]{0,14}|[A-Z]{1,15})$`)

// isValue reports whether a value is searched for wherever it could be.
func isValue(value string) bool { return len(value) >= leastSecret && !word.MatchString(value) }

// isPath reports whether a value names something on this host, such as the socket of an agent.
func isPath(value string) bool {
	_, err := os.Stat(value)
	return filepath.IsAbs(value) && err == nil
}

// HostSecrets returns the values of this process's variables that look like credentials, the passwords in URLs, and what
// programs keep in texts, such as those of .netrc and of cargo's credentials.toml. The variables are added to this process's.
func HostSecrets(variables, texts []string) Secrets {
	return secretsOf(append(os.Environ(), variables...), texts)
}

// setting matches a line of a settings file: a name and its value.
var setting = regexp.MustCompile(`(?m)^\s*(?:export\s+)?["']?([\w.-]+)["']?\s*[=:]\s*(?:"([^"\n]*)"|'([^'\n]*)'|(\S+))`)

// kept matches what follows the word password in a .netrc, and the user and the password in an address.
var kept = regexp.MustCompile(`(?i)\bpassword\s+([^\s"'=:]+)|://([^\s/:@"']*)(?::([^\s/@"']+))?@`)

// secretsOf returns the credentials in an environment, as KEY=VALUE, and in texts, in each form in which they could be written.
func secretsOf(environment, texts []string) (s Secrets) {
	seen := map[string]bool{}
	add := func(value string) {
		if !isValue(value) || seen[value] {
			return
		}
		seen[value] = true
		escaped, _ := json.Marshal(value) // a string can always be
		forms := []string{value, strings.Trim(string(escaped), `"`), url.QueryEscape(value), url.PathEscape(value),
			strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(value)), "=")}
		slices.Sort(forms)
		for _, form := range slices.Compact(forms) {
			s.values = append(s.values, []byte(form))
		}
	}
	named := func(name, value string) {
		if isSecretName(name) && !isPath(value) {
			add(strings.TrimPrefix(strings.TrimPrefix(value, "Bearer "), "Basic "))
		}
	}
	address := func(user, password string) { add(cmp.Or(password, user)) }
	for _, each := range environment {
		name, value, _ := strings.Cut(each, "=")
		named(name, value)
		for _, found := range kept.FindAllStringSubmatch(value, -1) {
			address(found[2], found[3])
		}
	}
	for _, text := range texts {
		for _, found := range setting.FindAllStringSubmatch(text, -1) {
			named(found[1], cmp.Or(found[2], found[3], found[4]))
		}
		for _, found := range kept.FindAllStringSubmatch(text, -1) {
			add(found[1])
			address(found[2], found[3])
		}
	}
	// The longest first: one may be a part of another.
	slices.SortFunc(s.values, func(a, b []byte) int { return len(b) - len(a) })
	return s
}

// secretName matches the names of variables that hold credentials: by what is clear anywhere in them, and by whole words.
var secretName = regexp.MustCompile(`(?i)password|passwd|passphrase|secret|credential|tokens?([^a-z]|$)|(api|private|access|signing|encryption|account)_?key|` +
	`connection_?string|webhook|sshpass|(^|_)(pass|pwd|pat|key|auth|cookie|dsn|jwt|otp)($|_)`)

func isSecretName(name string) bool { return secretName.MatchString(name) }

// secretFile matches the names of files that programs keep credentials in. Private keys are masked wherever they are.
var secretFile = regexp.MustCompile(`(?i)^(\.env(\..*|rc)?|\.netrc|_netrc|\.pypirc|\.npmrc|\.git-credentials|\.htpasswd|\.pgpass|` +
	`credentials(\.(json|toml|yaml|yml|ini))?|id_(rsa|dsa|ecdsa|ed25519)|.*\.(p12|pfx|jks|keystore|kdbx|tfstate))$`)

func isSecretFile(name string) bool { return secretFile.MatchString(name) }

// secretValue matches values that are credentials by their form: those of GitHub, GitLab, Slack, AWS, Google, npm, PyPI,
// Stripe, OpenAI and Anthropic as their makers describe them, JSON web tokens, private keys, and passwords in URLs. The
// first group, if it matches, is the part to mask.
var secretValue = regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{22,}|\bglpat-[\w-]{20,}|` +
	`\bxox[abposr]-[A-Za-z0-9-]{10,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{35}|\bnpm_[A-Za-z0-9]{36}|\bpypi-[\w-]{50,}|` +
	`\b[rs]k_live_[A-Za-z0-9]{20,}|\bsk-[\w-]{32,}|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}|` +
	`-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]+-----END [A-Z ]*PRIVATE KEY-----|` +
	`\b[a-z][a-z0-9+.-]*://[^\s/:@"'<>{}$%]*:([^\s/:@"'<>{}$%]{3,})@`)

// Withholds reports whether a file of the sources is left out: programs keep credentials in those of its name, or its name
// has one.
func (s Secrets) Withholds(name string) bool {
	_, found := s.Mask([]byte(name))
	return found || isSecretFile(path.Base(name))
}

// mask masks a text.
func (s Secrets) mask(text string) string {
	masked, _ := s.Mask([]byte(text))
	return string(masked)
}

// maskAll returns masked copies of texts.
func (s Secrets) maskAll(texts []string) (masked []string) {
	for _, text := range texts {
		masked = append(masked, s.mask(text))
	}
	return masked
}

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
	for _, folder := range []string{layout.BuiltTree, layout.Venv} {
		if strings.HasPrefix("/"+below, folder+"/") {
			return true
		}
	}
	return false
}
