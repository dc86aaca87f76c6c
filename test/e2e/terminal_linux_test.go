package e2e

import (
	"strings"
	"testing"
)

// One container, in which a person works as they would anywhere.
func TestE2EAPersonAtATerminal(t *testing.T) {
	p := me(t)
	name := p.name()
	s := p.sitDown("run", "-it", "--name", name, "-e", "PS1=here> ", p.desk.busybox, "sh")
	s.shows("here> ")
	s.types("stty size; tty; [ -t 2 ] && echo err too; test -c /dev/console && echo console\r")
	s.shows("\r\n24 80\r\n/dev/pts/0\r\nerr too\r\nconsole\r\n")
	s.shows("here> ")

	// Job control.
	s.types("sh -c 'trap \"echo goes on\" CONT; echo runs; while :; do sleep 0.1; done'\r")
	s.shows("\r\nruns\r\n")
	s.types("\x1a")
	s.shows("Stopped")
	s.shows("here> ")
	s.types("jobs\r")
	s.shows("Stopped")
	s.shows("here> ")
	s.types("fg\r")
	s.shows("\r\ngoes on\r\n")
	s.types("\x03")
	s.shows("here> ")
	s.types("echo code $?\r")
	s.shows("code 130\r\n")

	// Another size.
	s.resize(100, 30)
	s.types("until [ \"$(stty size)\" = '30 100' ]; do sleep 0.1; done; echo grown\r")
	s.shows("\r\ngrown\r\n")

	// Leaving, and coming again, twice.
	s.types("left=behind\r")
	s.shows("here> ")
	s.types("\x10\x11")
	s.shows("detached from " + name)
	if code := s.ends(); code != 0 {
		t.Fatalf("to detach ended with %d", code)
	}
	if c, _ := p.find(name); c.State != "running" {
		t.Fatalf("left alone it is %+v", c)
	}
	s = p.sitDown("attach", "--detach-keys", "ctrl-a,d", name)
	s.types("echo $left\r")
	s.shows("behind\r\n")
	s.shows("here> ")
	s.types("\x01d")
	s.shows("connects again")
	if code := s.ends(); code != 0 {
		t.Fatalf("to detach ended with %d", code)
	}

	// A further process that is left goes on without an end of its input.
	e := p.sitDown("exec", "-it", "-e", "PS1=there> ", name, "sh", "-c", "echo $TERM; read word; echo $word; sleep 777")
	e.shows("xterm\r\n")
	e.types("word\r")
	e.shows("word\r\nword\r\n")
	e.types("\x10\x11")
	e.shows("detached from a process of " + name)
	if code := e.ends(); code != 0 {
		t.Fatalf("to detach ended with %d", code)
	}
	if processes := p.must("top", name); !strings.Contains(processes, "sleep 777") {
		t.Errorf("what was left does not go on:\n%s", processes)
	}

	// Ctrl-C of a further process is its own.
	e = p.sitDown("exec", "-it", name, "sh", "-c", "trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 0.1; done")
	e.shows("ready\r\n")
	e.types("\x03")
	e.shows("caught\r\n")
	if code := e.ends(); code != 4 {
		t.Errorf("the further process ended with %d", code)
	}

	s = p.sitDown("attach", name)
	s.types("exit 7\r")
	if code := s.ends(); code != 7 {
		t.Errorf("it ended with %d", code)
	}
	p.nothingRuns()
}
