package harness

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/go-viper/mapstructure/v2"

	"pyo3test/harness/internal/project"
)

// withOptions fills in what the Suite leaves open from [tool.pyo3test] in the project's pyproject.toml. The keys are
// the Suite's fields, in any case, with or without dashes or underscores; times are seconds or Go's "90s". It also
// returns the unknown keys.
func (s Suite) withOptions(p project.Project) (_ Suite, unknown []string, err error) {
	var options Suite
	var read mapstructure.Metadata
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: &options, Metadata: &read, MatchName: project.IsOption, DecodeHook: duration,
	})
	if err == nil {
		err = decoder.Decode(listed(p.Tool.PyO3Test))
	}
	if err != nil {
		return s, nil, fmt.Errorf("%s: [tool.pyo3test]: %w", filepath.Join(p.Folder, "pyproject.toml"), err)
	}
	unknown = read.Unused
	if options.Crate != "" {
		unknown, options.Crate = append(unknown, "crate"), ""
	}
	if options.Root != "" && !filepath.IsAbs(options.Root) {
		options.Root = filepath.Join(p.Folder, options.Root) // the Suite's own is relative to the test
	}
	if options.OutputFolder != "" && !filepath.IsAbs(options.OutputFolder) {
		options.OutputFolder = filepath.Join(p.Folder, options.OutputFolder)
	}
	target, source := reflect.ValueOf(&s).Elem(), reflect.ValueOf(options)
	for i := range target.NumField() {
		if target.Field(i).IsZero() {
			target.Field(i).Set(source.Field(i))
		}
	}
	slices.Sort(unknown)
	return s, unknown, nil
}

// EachPython returns a Suite for each version of Python that the Suite or, if it names none, [tool.pyo3test] has; the
// Suite itself if there is no such list, or a wrong one, which a run reports.
func (s Suite) EachPython() (each []Suite) {
	named := s
	if len(s.Python) == 0 {
		if p, err := project.Read(s.Crate); err == nil {
			named, _, _ = s.withOptions(p)
		}
	}
	if len(named.Python) < 2 || len(wrongPythons(named.Python)) > 0 {
		return []Suite{s}
	}
	for _, version := range named.Python {
		s.Python = []string{version}
		if named.OutputFolder != "" { // the outputs of one would replace another's
			s.OutputFolder = filepath.Join(named.OutputFolder, version)
		}
		each = append(each, s)
	}
	return each
}

// wrongPythons returns what is wrong with a list of versions of Python, a sentence for each that is.
func wrongPythons(versions []string) (wrong []string) {
	for i, version := range versions {
		switch {
		case !pythonVersion.MatchString(version):
			wrong = append(wrong, fmt.Sprintf("%q is not a version: write \"3.14\", or \"3.14t\" for a free-threaded one", version))
		case slices.Contains(versions[:i], version):
			wrong = append(wrong, version+" is named twice")
		}
	}
	return wrong
}

// python returns the version of Python that the Suite names, "" if it names none.
func (s Suite) python() string {
	if len(s.Python) == 0 {
		return ""
	}
	return s.Python[0]
}

// listed returns the options with a list in the place of a single version of Python.
func listed(options map[string]any) map[string]any {
	options = maps.Clone(options)
	for key, value := range options {
		if version, ok := value.(string); ok && project.IsOption(key, "Python") {
			options[key] = []string{version}
		}
	}
	return options
}

// duration decodes a TOML value as a duration. A number is in seconds.
func duration(from, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() {
		return value, nil
	}
	switch value := value.(type) {
	case string:
		return time.ParseDuration(value)
	case int64:
		return time.Duration(value) * time.Second, nil
	case float64:
		return time.Duration(value * float64(time.Second)), nil
	}
	return nil, errors.New(`write seconds, or "90s"`)
}
