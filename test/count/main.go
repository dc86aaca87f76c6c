// Command count runs go test and counts: one line per package, the output of what failed, the reason of what was skipped, and as
// last line "N passed, N failed, N skipped". That line is also left in build/test-count, and all that go test said in build/test-events.json.
//
//	count -- ARGUMENTS OF GO TEST [-- ARGUMENTS OF GO TEST]...
//
// Each group of arguments is one run of go test, in order. A test with subtests is counted by these. How events become
// counts is in tally.go.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	t := newTally(os.Stdout)
	ok := true
	events, err := createEvents()
	if err != nil {
		fmt.Fprintln(os.Stderr, "count:", err)
		os.Exit(1)
	}
	for _, group := range groups(os.Args[1:]) {
		if err := run(t, events, group); err != nil {
			fmt.Fprintln(os.Stderr, "count:", err)
			ok = false
		}
	}
	if err := events.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "count:", err)
		ok = false
	}
	line := t.summary(ok)
	_ = os.WriteFile(filepath.Join("build", "test-count"), []byte(line+"\n"), 0o644) // the line is printed, too
	fmt.Println(line)
	if !ok || t.failed > 0 {
		os.Exit(1)
	}
}

// createEvents makes the file that other programs read the results from.
func createEvents() (*os.File, error) {
	if err := os.MkdirAll("build", 0o755); err != nil {
		return nil, err
	}
	return os.Create(filepath.Join("build", "test-events.json"))
}

// groups splits arguments at "--" and leaves empty groups out.
func groups(args []string) (out [][]string) {
	var current []string
	for _, arg := range append(args, "--") {
		if arg != "--" {
			current = append(current, arg)
			continue
		}
		if len(current) > 0 {
			out = append(out, current)
		}
		current = nil
	}
	return out
}

// run fails if go test did, whether or not it said which test. What it says is written to events, too.
func run(t *tally, events io.Writer, args []string) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	read(t, io.TeeReader(out, events))
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	return nil
}

// read feeds the tally; a line that is no event is somebody's output.
func read(t *tally, r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if !bytes.HasPrefix(line, []byte("{")) || json.Unmarshal(line, &e) != nil {
				e = event{Action: "output", Output: string(line)}
			}
			t.add(e)
		}
		if err != nil {
			return
		}
	}
}
