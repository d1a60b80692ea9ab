package group

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pyo3test/harness/internal/project"
)

// optionsOf holds the plugins whose options, settings and markers are used most often, with the prefixes of these.
var optionsOf = []struct{ project, names string }{
	{"pytest-asyncio", "--asyncio asyncio"},
	{"pytest-benchmark", "--benchmark benchmark"},
	{"pytest-black", "--black"},
	{"pytest-codspeed", "--codspeed codspeed"},
	{"pytest-cov", "--cov --no-cov cov_"},
	{"pytest-django", "--ds --dc --reuse-db --create-db --nomigrations --no-migrations DJANGO_ django_"},
	{"pytest-doctestplus", "--doctest-plus --doctest-rst --doctest-ufunc doctest_plus"},
	{"pytest-env", "env"},
	{"pytest-flake8", "--flake8"},
	{"pytest-html", "--html --self-contained-html"},
	{"hypothesis", "--hypothesis"},
	{"inline-snapshot", "--inline-snapshot"},
	{"pytest-instafail", "--instafail"},
	{"pytest-json-report", "--json-report"},
	{"pytest-markdown-docs", "--markdown-docs"},
	{"pytest-memray", "--memray"},
	{"pytest-mpl", "--mpl"},
	{"pytest-mypy", "--mypy"},
	{"nbval", "--nbval"},
	{"pytest-pylint", "--pylint"},
	{"pytest-random-order", "--random-order"},
	{"pytest-randomly", "--randomly"},
	{"pytest-repeat", "--count --repeat-scope"},
	{"pytest-rerunfailures", "--reruns --only-rerun --rerun-except --fail-on-flaky reruns"},
	{"pytest-ruff", "--ruff"},
	{"pytest-run-parallel", "--parallel-threads --iterations --mark-warnings-as-unsafe thread_unsafe"},
	{"pytest-sugar", "--force-sugar"},
	{"syrupy", "--snapshot"},
	{"pytest-testmon", "--testmon"},
	{"pytest-timeout", "--timeout --session-timeout timeout"},
	{"pytest-xdist", "-n --numprocesses --dist --maxprocesses --max-worker-restart --tx --loadgroup --looponfail"},
	{"xdoctest", "--xdoctest --xdoc"},
}

// projectOf returns the PyPI project that provides an option, or "".
func projectOf(option string) string {
	for _, plugin := range optionsOf {
		if slices.ContainsFunc(strings.Fields(plugin.names), func(name string) bool {
			return strings.HasPrefix(option, name) && (len(name) > 2 || strings.Trim(option[2:], "0123456789") == "")
		}) {
			return plugin.project
		}
	}
	return ""
}

var (
	unknownOptions = regexp.MustCompile(`unrecognized arguments: (.*)`)
	unknownPlugin  = regexp.MustCompile(`Error importing plugin "([\w.]+)": No module named`)
	missingPlugins = regexp.MustCompile(`Missing required plugins: (.*)`)
	notFound       = regexp.MustCompile(`(?m)^ERROR: file or directory not found: (.*)$`)
	unknownSetting = regexp.MustCompile(`Unknown config option: (\w+)`)
)

// inConftest reports whether pytest's output is about a conftest.py that cannot be loaded.
func inConftest(log string) bool { return strings.Contains(log, "while loading conftest") }

// usageText explains pytest's usage errors from its output and names the PyPI projects to install.
func usageText(log string) string {
	var wanted []string
	want := func(project, why string) {
		if !slices.ContainsFunc(wanted, func(line string) bool { return strings.HasPrefix(line, project+" ") }) {
			wanted = append(wanted, fmt.Sprintf("%s (%s)", project, why))
		}
	}
	for _, found := range unknownOptions.FindAllStringSubmatch(log, -1) {
		for _, option := range strings.Fields(found[1]) {
			if project := projectOf(option); project != "" {
				want(project, "for "+option)
			}
		}
	}
	for _, found := range unknownSetting.FindAllStringSubmatch(log, -1) {
		if project := projectOf(found[1]); project != "" {
			want(project, "for the setting "+found[1])
		}
	}
	for _, found := range unknownPlugin.FindAllStringSubmatch(log, -1) {
		module, _, _ := strings.Cut(found[1], ".")
		want(strings.ReplaceAll(module, "_", "-"),
			"for -p "+found[1]+"; the project may have another name than its module")
	}
	for _, found := range missingPlugins.FindAllStringSubmatch(log, -1) {
		for _, plugin := range strings.Split(found[1], ",") {
			want(strings.TrimSpace(plugin), "in required_plugins")
		}
	}
	if len(wanted) > 0 {
		return "a usage error: install " + strings.Join(wanted, ", ") + ": run with --with and its name, or add that to " +
			project.Setting("With")
	}
	if inConftest(log) {
		return "a conftest.py that cannot be loaded"
	}
	if found := notFound.FindStringSubmatch(log); found != nil {
		return "there is no file or folder " + found[1]
	}
	return "a usage error: an argument, or a setting of the project, that this pytest does not know; one of a plugin " +
		"needs the plugin: run with --with and its name, or add that to " + project.Setting("With")
}
