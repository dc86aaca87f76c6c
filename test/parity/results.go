package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strings"
)

// module is what import paths begin with.
const module = "github.com/vzctl/vzctl/"

// results are how tests ended: "pass", "fail" or "skip".
type results map[testName]string

// read takes the output of go test -json. Lines that are no events, such as those of the compiler, are passed over.
func (r results) read(from io.Reader) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		var event struct{ Action, Package, Test string }
		if bytes.HasPrefix(line, []byte("{")) && json.Unmarshal(line, &event) == nil && event.Test != "" {
			switch event.Action {
			case "pass", "fail", "skip":
				r[testName{dir: strings.TrimPrefix(event.Package, module), name: event.Test}] = event.Action
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// The states of a scenario, as the page says them.
const (
	passes    = "passes"
	fails     = "FAILS"
	notRun    = "not run"
	later     = "later"
	elsewhere = "not here"
)

// of says how a scenario stands. It passes if all of its tests do.
func (r results) of(s scenario) string {
	switch {
	case s.later != "":
		return later
	case s.elsewhere != "":
		return elsewhere
	}
	state := passes
	for _, test := range s.tests {
		switch r[test] {
		case "pass":
		case "fail":
			return fails
		default:
			state = notRun
		}
	}
	return state
}
