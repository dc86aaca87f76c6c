package qmp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// fakeQEMU greets and answers each command with what answer returns for its line.
func fakeQEMU(t *testing.T, greeting string, answer func(line string) string) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { _ = theirs.Close() }()
		_, _ = fmt.Fprintln(theirs, greeting)
		lines := bufio.NewScanner(theirs)
		for lines.Scan() {
			text := answer(lines.Text())
			if text == "" {
				return
			}
			_, _ = fmt.Fprintln(theirs, text)
		}
	}()
	t.Cleanup(func() {
		_ = ours.Close()
		<-ended
	})
	return ours
}

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}`

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestCommandsAndEvents(t *testing.T) {
	conn := fakeQEMU(t, greeting, func(line string) string {
		switch {
		case strings.Contains(line, "qmp_capabilities"):
			return `{"return": {}, "id": "1"}`
		case strings.Contains(line, "query-status"):
			return `{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}` + "\n" + `{"return": {"status": "paused"}, "id": "2"}`
		}
		return `{"id": "3", "error": {"class": "CommandNotFound", "desc": "The command fly has not been found"}}`
	})
	var events []string
	c, err := Open(within(t, 10*time.Second), conn, func(e Event) { events = append(events, e.Name) })
	if err != nil {
		t.Fatal(err)
	}
	var status struct{ Status string }
	if err := c.Execute(within(t, 10*time.Second), "query-status", nil, &status); err != nil || status.Status != "paused" {
		t.Errorf("status %+v, %v", status, err)
	}
	if err := c.Execute(within(t, 10*time.Second), "fly", map[string]int{"height": 3}, nil); err == nil || !strings.Contains(err.Error(), "fly: The command fly") {
		t.Errorf("error %v", err)
	}
	_ = c.Close()
	if len(events) != 1 || events[0] != "STOP" {
		t.Errorf("events %v", events)
	}
}

func TestMonitorThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		greeting string
		answer   string
		want     error
	}{
		"ends before it greets":        {"", "", ErrClosed},
		"says garbage":                 {"qemu: fatal", "", ErrClosed},
		"ends in a command":            {greeting, "", ErrClosed},
		"answers to another's command": {greeting, `{"return": {}, "id": "17"}`, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			conn := fakeQEMU(t, c.greeting, func(string) string { return c.answer })
			if c.greeting == "" {
				_ = conn.Close()
			}
			if _, err := Open(within(t, 100*time.Millisecond), conn, func(Event) {}); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}
