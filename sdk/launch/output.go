package launch

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
)

// output is our end of a pipe the plugin writes to.
type output struct {
	file *os.File
	done chan struct{} // closed by its reader, when that has come to the end
}

func newOutput(theirs *io.Writer) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	*theirs = w
	return &output{file: r, done: make(chan struct{})}, nil
}

// drain returns when all has been read, or ends the reading after d.
func (o *output) drain(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-o.done:
	case <-timer.C:
		_ = o.file.SetReadDeadline(time.Now())
	}
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
	if t.crash == "" && isCrash(line) {
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
