package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unicode"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Exit codes of vzctl itself; a container's own pass through.
const (
	codePart          = 1   // some of the things named failed; what failed was said already
	codeFailed        = 125 // vzctl failed
	codeNotExecutable = 126
	codeNotFound      = 127
	codeSignal        = 128 // and the signal's number
)

// status ends the program with a code and no message.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usageFault is a command line that cannot be meant.
type usageFault struct{ cause error }

func (u *usageFault) Error() string { return u.cause.Error() }
func (u *usageFault) Unwrap() error { return u.cause }

// finish says what err is about, once, and returns the code to end with.
func (p *program) finish(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	if s, ok := errors.AsType[status](err); ok {
		return int(s)
	}
	if s, ok := errors.AsType[signalled](context.Cause(ctx)); ok {
		if errors.Is(err, context.Canceled) || errors.Is(err, s) {
			err = s
		}
		p.complain(err)
		return codeSignal + int(s.signal)
	}
	p.complain(err)
	return exitCode(err)
}

// exitCode of a failure. That a process could not be executed is a matter of the container, everything else of vzctl.
func exitCode(err error) int {
	for e := range chain(err) {
		if f, ok := e.(*fault.Error); ok && f.Op == "execute" {
			if f.Reason == fault.NotFound {
				return codeNotFound
			}
			return codeNotExecutable
		}
	}
	return codeFailed
}

// chain walks an error and everything it wraps, outermost first.
func chain(err error) func(yield func(error) bool) {
	var walk func(err error, yield func(error) bool) bool
	walk = func(err error, yield func(error) bool) bool {
		if err == nil {
			return true
		}
		if !yield(err) {
			return false
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			return walk(e.Unwrap(), yield)
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				if !walk(inner, yield) {
					return false
				}
			}
		}
		return true
	}
	return func(yield func(error) bool) { walk(err, yield) }
}

// ended is how a command ends with its process.
func (p *program) ended(exit engine.Exit) error {
	if exit.Message != "" {
		p.say(exit.Message)
	}
	switch {
	case exit.Code == 0 && exit.Reason != "" && exit.Reason != "exited":
		// It did not end by itself, and nobody knows its code.
		if exit.Message == "" {
			p.say("the container ended: " + exit.Reason)
		}
		return status(codeFailed)
	case exit.Code == 0:
		return nil
	}
	return status(exit.Code)
}

func (p *program) complain(err error) { p.say(err.Error()) }

// say writes one line for people, or one JSON object, to stderr.
func (p *program) say(text string) {
	text = oneLine(text)
	if p.json.Load() {
		line, _ := json.Marshal(struct {
			Level   string `json:"@level"`
			Message string `json:"@message"`
			Module  string `json:"@module"`
		}{"error", text, "vzctl"})
		_, _ = fmt.Fprintf(p.Stderr, "%s\n", line)
		return
	}
	_, _ = fmt.Fprintf(p.Stderr, "vzctl: %s\n", text)
}

// oneLine joins lines and takes out what a terminal would obey: parts of a message come from registries, plugins and guests.
func oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(strings.TrimSpace(text), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	return printable(text)
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// signalled is the cause of a context that a signal ended.
type signalled struct{ signal syscall.Signal }

func (s signalled) Error() string { return "interrupted" }

func number(s os.Signal) syscall.Signal {
	n, _ := s.(syscall.Signal)
	return n
}
