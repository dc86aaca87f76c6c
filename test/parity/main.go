// Command parity writes docs/parity.md: what the integration scenarios of the strongest peer are, which of our tests show the same, and how these ended.
//
//	parity [-o FILE] EVENTS...
//
// EVENTS are files with the output of go test -json, as make test leaves in build/test-events.json; of a test that is in several the last counts. Scenarios are in
// scenarios.txt, which scenario.go reads; results.go reads events, and table.go writes the page.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"io"
	"os"
)

// scenariosText is compiled in, so that the command can be run from anywhere.
//
//go:embed scenarios.txt
var scenariosText string

func main() {
	out := flag.String("o", "", "`FILE` to write; otherwise stdout")
	flag.Parse()
	if err := write(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "parity:", err)
		os.Exit(1)
	}
}

func write(out string, events []string) error {
	groups, err := parseScenarios(scenariosText)
	if err != nil {
		return err
	}
	all := results{}
	for _, path := range events {
		if err := readFile(all, path); err != nil {
			return err
		}
	}
	page := render(groups, all)
	if out == "" {
		_, err := io.WriteString(os.Stdout, page)
		return err
	}
	return os.WriteFile(out, []byte(page), 0o644) // documentation is for all to read
}

func readFile(into results, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%w; make test writes it", err)
	}
	defer f.Close() // only read
	if err := into.read(f); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
