// Command pyo3test runs the pytest suite of a PyO3 extension without a line of Go, with the same containers, builds,
// isolation and reports as pyo3test/harness under go test. `pyo3test help` lists the commands; --help explains each.
//
// The exit code gives the cause:
//
//	0    all tests passed, or were skipped or expected to fail; there is nothing to fix
//	1    a test failed, hung or crashed; doctor: something will break
//	2    wrong usage, or no crate that can be tested
//	3    the build failed
//	4    pytest could not collect, or found no tests
//	5    no engine, no image, no network, no cache folder
//	130  interrupted by Ctrl-C, 143 by SIGTERM
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/visible"
)

// Exit codes.
const (
	exitPassed = iota
	exitFailed
	exitUsage
	exitBuild
	exitCollection
	exitSetup
	exitSignal = 128 // plus the signal's number
)

// status is the exit code of a command that has already printed all there is to report.
type status int

func (s status) Error() string { return fmt.Sprintf("exit code %d", int(s)) }

// interrupted is the signal that ended a command.
type interrupted struct{ syscall.Signal }

func (i interrupted) Error() string { return "interrupted by a signal: " + i.String() }

func main() {
	ctx, interrupt := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		by := <-signals
		signal.Stop(signals) // a second one takes its usual effect at once
		interrupt(interrupted{by.(syscall.Signal)})
	}()
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if by := (interrupted{}); errors.As(context.Cause(ctx), &by) {
		code = exitSignal + int(by.Signal)
	}
	os.Exit(code)
}

// command runs one command line and returns the exit code.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := commands()
	root.SetArgs(append([]string{}, args...)) // nil would mean the process's own
	root.SetOut(visible.Writer{To: stdout})
	stderr = visible.Writer{To: stderr}
	root.SetErr(stderr)
	done, err := root.ExecuteContextC(ctx)
	if code := status(0); errors.As(err, &code) {
		return int(code)
	}
	if err == nil {
		return exitPassed
	}
	fmt.Fprintf(stderr, "%s: %s\n", done.CommandPath(), strings.TrimRight(err.Error(), "\n"))
	if unusable := (*cache.Error)(nil); errors.As(err, &unusable) {
		return exitSetup
	}
	return exitUsage
}

func commands() *cobra.Command {
	root := &cobra.Command{
		Use:   "pyo3test",
		Short: "Run the pytest suite of a PyO3 extension, each test in a process of its own",
		Long: `pyo3test runs the pytest suite of a PyO3 extension: built by maturin in a pinned Python 3.11 container, each test in a
process of its own. A test that hangs or crashes is named, with its stacks and its cause, and costs no other its verdict.`,
		Example: "  pyo3test run                   the crate in this folder\n  pyo3test run " +
			"../rust/mycrate   another one",

		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("no command: try `pyo3test run`, or `pyo3test help`")
		},
	}
	root.SetFlagErrorFunc(explainFlag)
	root.AddCommand(runCommand(), listCommand(), doctorCommand(), initCommand(), dumpCommand(), reproCommand(), cleanCommand(), imageCommand(),
		versionCommand())
	root.SetUsageTemplate(root.UsageTemplate() + codes)
	return root
}

const codes = `
Exit codes: 0 passed, 1 a test failed, hung or crashed, 2 wrong usage or no crate, 3 the build failed, 4 pytest could not
collect or found nothing, 5 no engine, image, network or cache folder, 130 interrupted, 143 terminated.
`

// explainFlag adds hints to an error about flags, such as which flag was perhaps meant.
func explainFlag(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	names := &cobra.Command{SuggestionsMinimumDistance: 2} // cobra's own distance between commands
	c.Flags().VisitAll(func(f *pflag.Flag) {
		names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	if near := names.SuggestionsFor(unknown.GetSpecifiedName()); len(near) > 0 {
		err = fmt.Errorf("%w: did you mean --%s?", err, strings.Join(near, " or --"))
	}
	if c.Name() == "run" || c.Name() == "list" {
		err = fmt.Errorf("%w; arguments of pytest come after --", err)
	}
	return fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())
}
