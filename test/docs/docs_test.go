// Package docs holds the documentation to the truth where a machine can.
package docs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are all Markdown files that are kept.
func pages(t *testing.T) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../kernel/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	return paths
}

var links = regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range links.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %q: %v", page, m[1], err)
			}
		}
	}
}

var programs = regexp.MustCompile("(?s)```go\n(package main\n.*?)```")

func TestProgramsInTheDocumentationBuild(t *testing.T) {
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range programs.FindAllSubmatch(text, -1) {
			path := filepath.Join(t.TempDir(), "main.go")
			if err := os.WriteFile(path, m[1], 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("go", "vet", path).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", page, err, out)
			}
			if out, err := exec.Command("gofmt", "-l", path).CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
				t.Errorf("%s: not formatted as gofmt does\n%s", page, out)
			}
		}
	}
}
