package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"
)

// Format is the version of a recording, as major and minor number. A reader takes any minor version of its own major
// one: it passes over kinds of events and fields that it does not know.
const (
	formatMajor = 1
	formatMinor = 1
)

// header is the first line of a recording.
type header struct {
	Recording string `json:"recording"` // its format: "major.minor"
	PyO3Test  string `json:"pyo3test"`  // the version that made it
	// Run describes what was asked for, in the words of the program that made the recording.
	Run json.RawMessage `json:"run,omitempty"`
}

// recorded is any other line of a recording.
type recorded struct {
	At    time.Time       `json:"at"`
	Kind  string          `json:"kind"`
	Event json.RawMessage `json:"event"`
}

// kinds holds an empty event of each kind.
var kinds = func() map[string]reflect.Type {
	byName := map[string]reflect.Type{}
	for _, e := range []Event{
		RunStarted{}, PhaseStarted{}, Progress{}, PhaseEnded{}, Note{}, Problem{}, RunEnded{}, Lent{}, Returned{},
		GroupStarted{}, Waiting{}, Session{}, Selected{}, Listed{}, FileFailed{}, FileSkipped{}, ExitFailed{}, Stacks{}, GroupEnded{}, TestStarted{}, TestSlow{},
		TestEnded{}, Proof{},
	} {
		byName[e.kind()] = reflect.TypeOf(e)
	}
	return byName
}()

// Recorder writes the events of a run as JSON lines, to be read by Replay.
type Recorder struct {
	out  io.Writer
	kept textBudget
	err  error
}

// NewRecorder returns a reporter that records, and writes the recording's first line. run describes what was asked for.
func NewRecorder(out io.Writer, version string, run any) (*Recorder, error) {
	data, err := json.Marshal(run)
	if err == nil {
		data, err = json.Marshal(header{fmt.Sprintf("%d.%d", formatMajor, formatMinor), version, data})
	}
	if err == nil {
		_, err = out.Write(append(data, '\n'))
	}
	if err != nil {
		return nil, fmt.Errorf("begin a recording: %w", err)
	}
	return &Recorder{out: out}, nil
}

// Report records an event. It never objects: that a recording cannot be written changes no verdict.
func (r *Recorder) Report(at time.Time, e Event, _ *Tally) error {
	switch ended := e.(type) {
	case Tick:
		return nil
	case TestEnded:
		e = r.kept.shrink(ended)
	}
	if r.err != nil {
		return nil
	}
	data, err := json.Marshal(e)
	if err == nil {
		data, err = json.Marshal(recorded{at, e.kind(), data})
	}
	if err == nil {
		_, err = r.out.Write(append(data, '\n'))
	}
	r.err = err
	return nil
}

// Err returns the error that ended the recording early, nil if none did.
func (r *Recorder) Err() error {
	if r.err == nil {
		return nil
	}
	return fmt.Errorf("record the run: %w", r.err)
}

// ErrCutOff is the error of Replay for a recording that ends before its run did, perhaps before its first line: the run
// is under way, or was killed.
var ErrCutOff = errors.New("the recording ends before its run did")

// maxRecorded bounds a line of a recording, in bytes.
const maxRecorded = 64 << 20

// Replay passes the events of a recording to reporters, with a Tick for each second between them, and returns the
// result. run, unless it is nil, gets what was asked for. Its errors are ErrCutOff, that the recording is of another major
// version, or that it is not in order; the result is of the events before that.
func Replay(in io.Reader, run any, to ...Reporter) (Result, error) {
	lines := bufio.NewReaderSize(in, 64<<10)
	first, err := readLine(lines)
	if errors.Is(err, io.EOF) {
		err = ErrCutOff
	}
	if err != nil {
		return Result{}, err
	}
	if err := readHeader(first, run); err != nil {
		return Result{}, err
	}
	p := player{to: to}
	for number := 2; ; number++ {
		data, err := readLine(lines)
		if errors.Is(err, io.EOF) || errors.Is(err, ErrCutOff) {
			break
		}
		if err == nil {
			err = p.play(data)
		}
		if err != nil {
			return p.tally.Result(), fmt.Errorf("line %d of the recording: %w", number, err)
		}
	}
	if result := p.tally.Result(); !result.Ended {
		return result, ErrCutOff
	}
	return p.tally.Result(), nil
}

// readLine returns the next line. One without its end is ErrCutOff: it was being written.
func readLine(from *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := from.ReadSlice('\n')
		whole = append(whole, part...)
		switch {
		case err == nil:
			return whole, nil
		case errors.Is(err, io.EOF) && len(whole) > 0:
			return nil, ErrCutOff
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(whole) > maxRecorded:
			return nil, fmt.Errorf("longer than %d MiB", maxRecorded>>20)
		}
	}
}

func readHeader(data []byte, run any) error {
	var h header
	var major, minor int
	if err := json.Unmarshal(data, &h); err != nil {
		return fmt.Errorf("this is not a recording of a run: %w", err)
	}
	if _, err := fmt.Sscanf(h.Recording, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("this is not a recording of a run: its first line has no format")
	}
	if major != formatMajor {
		return fmt.Errorf("the recording has format %s, made by pyo3test %s, and this version "+
			"reads %d.x: use that version",
			h.Recording, h.PyO3Test, formatMajor)
	}
	if run == nil || len(h.Run) == 0 {
		return nil
	}
	if err := json.Unmarshal(h.Run, run); err != nil {
		return fmt.Errorf("read what the recorded run was asked for: %w", err)
	}
	return nil
}

// maxTicks bounds how many seconds between two events are replayed: the clock of a machine can jump.
const maxTicks = 3600

// player replays events.
type player struct {
	tally Tally
	to    []Reporter
	last  time.Time
}

func (p *player) play(data []byte) error {
	var line recorded
	if err := json.Unmarshal(data, &line); err != nil {
		return fmt.Errorf("not an event: %w", err)
	}
	kind, known := kinds[line.Kind]
	if !known {
		return nil // of a newer minor version
	}
	value := reflect.New(kind)
	if err := json.Unmarshal(line.Event, value.Interface()); err != nil {
		return fmt.Errorf("%s: %w", line.Kind, err)
	}
	e := value.Elem().Interface().(Event)
	if err := p.tally.take(e); err != nil {
		return err
	}
	if first := line.At.Add(-maxTicks * time.Second); !p.last.IsZero() && p.last.Before(first) {
		p.last = first
	}
	for ; !p.last.IsZero() && p.last.Add(time.Second).Before(line.At); p.last = p.last.Add(time.Second) {
		if err := p.pass(p.last.Add(time.Second), Tick{}); err != nil {
			return err
		}
	}
	p.last = line.At
	return p.pass(line.At, e)
}

func (p *player) pass(at time.Time, e Event) error {
	var errs []error
	for _, to := range p.to {
		errs = append(errs, to.Report(at, e, &p.tally))
	}
	return errors.Join(errs...)
}
