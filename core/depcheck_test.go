package core

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/vzctl/vzctl/"

// rules say which part may import none of which others, not even through third packages.
var rules = []struct {
	part   string
	spares []string
}{
	{"core", []string{"plugins", "cmd"}},
	{"sdk", []string{"core", "plugins", "cmd"}},
	{"guest", []string{"core", "plugins", "cmd"}},
	{"plugins", []string{"core", "cmd"}},
}

func TestPartsImportOnlyWhatTheyMay(t *testing.T) {
	imports := allImports(t)
	for _, rule := range rules {
		for pkg := range imports {
			if !in(pkg, rule.part) {
				continue
			}
			if chain := chainTo(imports, pkg, rule.spares); chain != nil {
				t.Errorf("%s must not import %s:\n\t%s", rule.part, strings.Join(rule.spares, ", "), strings.Join(chain, "\n\t-> "))
			}
		}
	}
}

func TestChainIsFoundThroughOtherPackages(t *testing.T) {
	imports := map[string][]string{
		module + "core/a":    {"fmt", module + "sdk/b"},
		module + "sdk/b":     {module + "plugins/c"},
		module + "plugins/c": {"os"},
	}
	chain := chainTo(imports, module+"core/a", []string{"plugins"})
	want := []string{module + "core/a", module + "sdk/b", module + "plugins/c"}
	if !slices.Equal(chain, want) {
		t.Errorf("chain %q, want %q", chain, want)
	}
	if chain := chainTo(imports, module+"core/a", []string{"cmd"}); chain != nil {
		t.Errorf("chain %q where there is none", chain)
	}
}

// allImports of the packages of this module, on every platform we build for, tests left out.
func allImports(t *testing.T) map[string][]string {
	imports := map[string][]string{}
	for _, goos := range []string{"linux", "darwin"} {
		cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", module+"...")
		cmd.Env = append(cmd.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v\n%s", err, &stderr)
		}
		for in := json.NewDecoder(bytes.NewReader(out)); ; {
			var pkg struct {
				ImportPath string
				Imports    []string
			}
			err := in.Decode(&pkg)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			imports[pkg.ImportPath] = append(imports[pkg.ImportPath], pkg.Imports...)
		}
	}
	if len(imports) < 10 {
		t.Fatalf("only %d packages found", len(imports))
	}
	return imports
}

// chainTo returns the shortest chain of imports from pkg to a package of one of the parts.
func chainTo(imports map[string][]string, pkg string, parts []string) []string {
	seen := map[string]bool{pkg: true}
	for queue := [][]string{{pkg}}; len(queue) > 0; queue = queue[1:] {
		chain := queue[0]
		for _, next := range imports[chain[len(chain)-1]] {
			if seen[next] || !strings.HasPrefix(next, module) {
				continue
			}
			seen[next] = true
			longer := append(slices.Clone(chain), next)
			if slices.ContainsFunc(parts, func(part string) bool { return in(next, part) }) {
				return longer
			}
			queue = append(queue, longer)
		}
	}
	return nil
}

func in(pkg, part string) bool {
	return pkg == module+part || strings.HasPrefix(pkg, module+part+"/")
}
