package launch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/hashicorp/go-hclog"
)

// output is our end of a pipe the plugin writes to. It ends, without error, with the pipe or when it is drained.
type output struct {
	file *os.File
	eof  chan struct{}
	once sync.Once

	mu    sync.Mutex
	first []byte // up to the first end of line, for errors
}

// maxFirstLine is how much of a plugin's first line an error shows.
const maxFirstLine = 200

func newOutput(theirs *io.Writer) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	*theirs = w
	return &output{file: r, eof: make(chan struct{})}, nil
}

// Read implements io.Reader.
func (o *output) Read(b []byte) (int, error) {
	n, err := o.file.Read(b)
	o.mu.Lock()
	if len(o.first) < maxFirstLine && !bytes.ContainsRune(o.first, '\n') {
		o.first = append(o.first, b[:min(n, maxFirstLine)]...)
	}
	o.mu.Unlock()
	if err != nil {
		o.once.Do(func() { close(o.eof) })
		if errors.Is(err, os.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			err = io.EOF
		}
	}
	return n, err
}

// Close implements io.Closer.
func (o *output) Close() error { return o.file.Close() }

// drain returns when all has been read, or ends the reading after d.
func (o *output) drain(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-o.eof:
	case <-timer.C:
		_ = o.file.SetReadDeadline(time.Now())
	}
}

func (o *output) firstLine() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	line, _, _ := bytes.Cut(o.first, []byte("\n"))
	return shown(string(line[:min(len(line), maxFirstLine)]))
}

// tail keeps the last lines written to it, and the line a crash began with.
type tail struct {
	mu    sync.Mutex
	lines []string
	crash string
	line  []byte
}

const (
	tailLines   = 4
	maxTailLine = 500
)

// Write implements io.Writer and never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for rest := b; len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte("\n"))
		t.line = append(t.line, part[:min(len(part), max(0, maxLogLine-len(t.line)))]...)
		if ended {
			t.add(readable(t.line))
			t.line = t.line[:0]
		}
		rest = after
	}
	return len(b), nil
}

// maxLogLine is the longest line that is read as a log line.
const maxLogLine = 64 << 10

func (t *tail) add(line string) {
	if line = shown(line); line == "" {
		return
	}
	if t.crash == "" && (strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")) {
		t.crash = line
	}
	if len(t.lines) == tailLines {
		t.lines = t.lines[1:]
	}
	t.lines = append(t.lines, line)
}

// shown makes a line fit to be part of an error: it is as long as it may be, and steers no terminal.
func shown(line string) string {
	line = strings.TrimSpace(line)
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(line[:min(len(line), maxTailLine)], "")))
}

// readable makes a line of hclog's JSON one for people. Lines below warnings say nothing about an end.
func readable(line []byte) string {
	var entry map[string]any
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &entry) != nil {
		return string(line)
	}
	message, _ := entry["@message"].(string)
	if level, _ := entry["@level"].(string); level != "warn" && level != "error" {
		return ""
	}
	if cause, ok := entry["error"].(string); ok {
		message += ": " + cause
	}
	return message
}

// String returns the line a crash began with, or the last lines.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.crash != "" {
		return t.crash
	}
	lines := t.lines
	if rest := shown(readable(t.line)); rest != "" {
		lines = append(lines[:len(lines):len(lines)], rest)
	}
	return strings.Join(lines, " / ")
}

// transportLog takes what go-plugin logs about itself for debugging: what matters of it is in our errors. The plugin's own lines come through a logger
// that go-plugin names after the program.
type transportLog struct{ hclog.Logger }

// Info implements hclog.Logger.
func (l transportLog) Info(text string, values ...any) { l.Debug(text, values...) }

// Warn implements hclog.Logger.
func (l transportLog) Warn(text string, values ...any) { l.Debug(text, values...) }

// Error implements hclog.Logger.
func (l transportLog) Error(text string, values ...any) { l.Debug(text, values...) }

// Named implements hclog.Logger.
func (l transportLog) Named(name string) hclog.Logger {
	if name == "stdio" {
		return hclog.NewNullLogger()
	}
	return l.Logger.Named(name)
}
