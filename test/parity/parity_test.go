package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// peers is how many scenarios the peer has.
const peers = 167

func scenarios(t *testing.T) []group {
	t.Helper()
	groups, err := parseScenarios(scenariosText)
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

func TestEveryScenarioIsListed(t *testing.T) {
	listed := 0
	for _, g := range scenarios(t) {
		listed += len(g.scenarios)
	}
	if listed != peers {
		t.Errorf("%d scenarios are listed, want %d", listed, peers)
	}
}

// source is what a directory's tests have: functions, and strings, which subtests may be named after.
type source struct{ functions, texts map[string]bool }

// names says whether a subtest, or one of a subtest, may have this name.
func (s source) names(subtest string) bool {
	if s.texts[subtest] {
		return true
	}
	above, below, nested := strings.Cut(subtest, "/")
	return nested && s.texts[above] && s.names(below)
}

func readTests(t *testing.T, dir string) source {
	t.Helper()
	s := source{map[string]bool{}, map[string]bool{}}
	paths, err := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				s.functions[n.Name.Name] = n.Recv == nil
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
					s.texts[strings.ReplaceAll(text, " ", "_")] = true
				}
			}
			return true
		})
	}
	return s
}

func TestEveryTestThatIsNamedExists(t *testing.T) {
	sources := map[string]source{}
	for _, g := range scenarios(t) {
		for _, s := range g.scenarios {
			for _, test := range s.tests {
				if _, known := sources[test.dir]; !known {
					sources[test.dir] = readTests(t, test.dir)
				}
				if !sources[test.dir].functions[test.top()] {
					t.Errorf("%s: %s does not exist", s.name, test)
				}
				if _, subtest, ok := strings.Cut(test.name, "/"); ok && !sources[test.dir].names(subtest) {
					t.Errorf("%s: no string of the tests in %s is %q", s.name, test.dir, subtest)
				}
			}
		}
	}
}

// The result is that of a run; all else follows from scenarios.txt.
var resultColumn = regexp.MustCompile(`(?m)( \| [^|\n]+ \|$)|(^Of \d+ scenarios .*$)`)

func TestThePageIsOfTheseScenarios(t *testing.T) {
	page, err := os.ReadFile("../../docs/parity.md")
	if err != nil {
		t.Fatal(err)
	}
	if resultColumn.ReplaceAllString(string(page), "") != resultColumn.ReplaceAllString(render(scenarios(t), results{}), "") {
		t.Error("docs/parity.md is not of test/parity/scenarios.txt; make parity writes it anew")
	}
}

func TestAScenarioStandsAsItsTestsDo(t *testing.T) {
	groups, err := parseScenarios("## G\na | shows | TestA; core/x:TestB/some thing\nb | shows | later: pods\nc | shows | not here: why\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, events, want string }{
		{"all pass", `{"Action":"pass","Package":"github.com/vzctl/vzctl/test/e2e","Test":"TestA"}
			{"Action":"pass","Package":"github.com/vzctl/vzctl/core/x","Test":"TestB/some_thing"}`, passes},
		{"one fails", `{"Action":"pass","Package":"github.com/vzctl/vzctl/test/e2e","Test":"TestA"}
			{"Action":"fail","Package":"github.com/vzctl/vzctl/core/x","Test":"TestB/some_thing"}`, fails},
		{"one was not run", `{"Action":"pass","Package":"github.com/vzctl/vzctl/test/e2e","Test":"TestA"}`, notRun},
		{"one was skipped", `{"Action":"pass","Package":"github.com/vzctl/vzctl/test/e2e","Test":"TestA"}
			{"Action":"skip","Package":"github.com/vzctl/vzctl/core/x","Test":"TestB/some_thing"}`, notRun},
		{"it failed, and passed in a later run", `{"Action":"fail","Package":"github.com/vzctl/vzctl/test/e2e","Test":"TestA"}
			{"Action":"pass","Package":"github.com/vzctl/vzctl/core/x","Test":"TestB/some_thing"}
			{"Action":"pass","Package":"github.com/vzctl/vzctl/test/e2e","Test":"TestA"}`, passes},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := results{}
			if err := r.read(strings.NewReader(strings.ReplaceAll(c.events, "\t", ""))); err != nil {
				t.Fatal(err)
			}
			for i, want := range []string{c.want, later, elsewhere} {
				if got := r.of(groups[0].scenarios[i]); got != want {
					t.Errorf("%s: %s, want %s", groups[0].scenarios[i].name, got, want)
				}
			}
		})
	}
}

func TestWhatIsNoScenarioIsRefused(t *testing.T) {
	for _, text := range []string{"a | b | TestC\n", "## G\na | b\n", "## G\na | b | nothing\n", "## G\na | b | TestC\na | d | TestC\n", "## G\na | b | TestC;\n"} {
		if groups, err := parseScenarios(text); err == nil {
			t.Errorf("%q is %+v", text, groups)
		}
	}
}
