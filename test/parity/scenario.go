package main

import (
	"fmt"
	"strings"
)

// group is a heading of scenarios.txt and what is below it.
type group struct {
	name      string
	scenarios []scenario
}

// scenario is one behaviour. It has tests, or it says why not: later or elsewhere, never both.
type scenario struct {
	name, shows string
	tests       []testName
	later       string // the feature it belongs to, which is not there yet
	elsewhere   string // why it does not concern us
}

// testName is a test, or a subtest, of a package.
type testName struct {
	dir  string // of the package, below the module
	name string // as go test writes it
}

func (t testName) String() string { return t.dir + " " + t.name }

// top is the test function.
func (t testName) top() string {
	top, _, _ := strings.Cut(t.name, "/")
	return top
}

// usualDir has tests that are named without a directory.
const usualDir = "test/e2e"

// parseScenarios reads lines "NAME | WHAT IT SHOWS | TESTS". TESTS are separated by ";"; each is TestName, TestName/subtest with the subtest as the source has it, or
// DIR:TestName. In their place there may be "later: FEATURE" or "not here: WHY". "## " begins a group, "# " a comment.
func parseScenarios(text string) (groups []group, err error) {
	known := map[string]bool{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		heading, isHeading := strings.CutPrefix(line, "## ")
		switch {
		case line == "" || strings.HasPrefix(line, "# "):
			continue
		case isHeading:
			groups = append(groups, group{name: heading})
			continue
		case len(groups) == 0:
			return nil, fmt.Errorf("scenarios.txt, line %d: it is in no group", number)
		}
		s, err := parseScenario(line)
		if err == nil && known[s.name] {
			err = fmt.Errorf("%q is there twice", s.name)
		}
		if err != nil {
			return nil, fmt.Errorf("scenarios.txt, line %d: %w", number, err)
		}
		known[s.name] = true
		last := &groups[len(groups)-1]
		last.scenarios = append(last.scenarios, s)
	}
	return groups, nil
}

func parseScenario(line string) (s scenario, err error) {
	fields := strings.Split(line, " | ")
	if len(fields) != 3 {
		return s, fmt.Errorf("%q is not NAME | WHAT IT SHOWS | TESTS", line)
	}
	s.name, s.shows = fields[0], fields[1]
	if feature, ok := strings.CutPrefix(fields[2], "later: "); ok {
		s.later = feature
		return s, nil
	}
	if why, ok := strings.CutPrefix(fields[2], "not here: "); ok {
		s.elsewhere = why
		return s, nil
	}
	for _, text := range strings.Split(fields[2], ";") {
		dir, name, elsewhere := strings.Cut(strings.TrimSpace(text), ":Test")
		if !elsewhere {
			dir, name = usualDir, strings.TrimPrefix(dir, "Test")
		}
		if name == "" || !elsewhere && !strings.HasPrefix(strings.TrimSpace(text), "Test") {
			return s, fmt.Errorf("%q is no test", text)
		}
		s.tests = append(s.tests, testName{dir: dir, name: "Test" + strings.ReplaceAll(name, " ", "_")}) // as package testing does
	}
	return s, nil
}
