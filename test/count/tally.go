package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is a line of go test -json, as `go doc test2json` describes it.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// tally counts the tests of all packages, and prints a package when it is done.
type tally struct {
	out                     io.Writer
	passed, failed, skipped int
	packages                map[string]*pkg
	builds                  map[string]*strings.Builder // output of the compiler, by import path
}

// pkg is a package whose tests run.
type pkg struct {
	tests  map[string]*test
	order  []string
	output strings.Builder // what belongs to no test
}

type test struct {
	action string // how it ended; "" while it runs
	parent bool   // has subtests
	blamed bool   // a subtest failed
	output strings.Builder
}

func newTally(out io.Writer) *tally {
	return &tally{out: out, packages: make(map[string]*pkg), builds: make(map[string]*strings.Builder)}
}

func (t *tally) add(e event) {
	switch {
	case e.Action == "build-output":
		b := t.builds[e.ImportPath]
		if b == nil {
			b = new(strings.Builder)
			t.builds[e.ImportPath] = b
		}
		b.WriteString(e.Output)
	case e.Action == "build-fail":
	case e.Package == "":
		fmt.Fprint(t.out, e.Output)
	case e.Test == "":
		t.addPackage(e)
	default:
		t.pkg(e.Package).add(e)
	}
}

func (t *tally) pkg(name string) *pkg {
	if t.packages[name] == nil {
		t.packages[name] = &pkg{tests: make(map[string]*test)}
	}
	return t.packages[name]
}

func (p *pkg) add(e event) {
	one := p.tests[e.Test]
	if one == nil {
		one = &test{}
		p.tests[e.Test] = one
		p.order = append(p.order, e.Test)
	}
	switch e.Action {
	case "output":
		one.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		one.action = e.Action
	}
}

// addPackage takes what is said of the package as a whole, the last of it being its result.
func (t *tally) addPackage(e event) {
	p := t.pkg(e.Package)
	switch e.Action {
	case "output":
		p.output.WriteString(e.Output)
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	delete(t.packages, e.Package)
	for _, name := range p.order {
		one := p.tests[name]
		if one.action == "" && e.Action == "fail" {
			one.action = "fail" // the process ended under it
		}
		for parent := above(name); parent != ""; parent = above(parent) {
			if up := p.tests[parent]; up != nil {
				up.parent = true
				up.blamed = up.blamed || one.action == "fail"
			}
		}
	}
	failedBefore, passed := t.failed, 0
	for _, name := range p.order {
		one := p.tests[name]
		switch {
		case one.action == "fail" && !one.blamed:
			t.failed++
			fmt.Fprintf(t.out, "--- FAIL %s %s\n%s", e.Package, name, one.output.String())
		case one.action == "skip" && !one.parent:
			t.skipped++
			fmt.Fprintf(t.out, "--- SKIP %s %s: %s\n", e.Package, name, reason(one.output.String()))
		case one.action == "pass" && !one.parent:
			passed++
		}
	}
	t.passed += passed
	if e.Action == "fail" && t.failed == failedBefore {
		t.failed++ // did not build, or ended badly after its tests
		fmt.Fprintf(t.out, "--- FAIL %s\n%s", e.Package, p.output.String())
		if b := t.builds[e.FailedBuild]; b != nil {
			fmt.Fprint(t.out, b.String())
		}
	}
	if len(p.order) > 0 || e.Action == "fail" {
		fmt.Fprintf(t.out, "%-4s %s %d passed, %.1f s\n", verdicts[e.Action], e.Package, passed, e.Elapsed)
	}
}

var verdicts = map[string]string{"pass": "ok", "fail": "FAIL", "skip": "ok"}

// above is the test that a subtest belongs to.
func above(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return ""
}

// reason finds what was given to Skip in a test's output.
func reason(output string) string {
	lines := slices.DeleteFunc(strings.Split(output, "\n"), func(line string) bool {
		line = strings.TrimSpace(line)
		return line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ")
	})
	return strings.TrimSpace(strings.Join(lines, " "))
}

// summary is the closing line. A run that failed without any test to blame, such as one with bad arguments, counts as a failure.
func (t *tally) summary(ok bool) string {
	if !ok && t.failed == 0 {
		t.failed++
	}
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}
