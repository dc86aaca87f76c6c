package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestE2ECopyOfAllKinds copies to one running container and back.
func TestE2ECopyOfAllKinds(t *testing.T) {
	p := me(t)
	name, dir := p.name(), t.TempDir()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sleep", "1000")
	at := func(name string) string { return filepath.Join(dir, name) }
	var allBytes []byte
	for i := range 256 {
		allBytes = append(allBytes, byte(i))
	}
	for file, content := range map[string][]byte{"an empty file": nil, "all byte values": allBytes, "10 MiB": bytes.Repeat(allBytes, 10<<20/256)} {
		t.Run(file, func(t *testing.T) {
			p := p.with(t)
			must(t, os.WriteFile(at(file), content, 0o644))
			p.must("cp", at(file), name+":/tmp") // a directory, so that it gets its own name there
			p.must("cp", name+":/tmp/"+file, at(file+", back"))
			got, err := os.ReadFile(at(file + ", back"))
			must(t, err)
			if !bytes.Equal(got, content) {
				t.Errorf("%d bytes were sent, and %d came back, or others", len(content), len(got))
			}
		})
	}
	t.Run("a script, which can be run", func(t *testing.T) {
		p := p.with(t)
		must(t, os.WriteFile(at("script"), []byte("#!/bin/sh\necho it runs\n"), 0o755))
		p.must("cp", at("script"), name+":/tmp/renamed")
		if got := p.must("exec", name, "/tmp/renamed"); got != "it runs\n" {
			t.Errorf("it says %q", got)
		}
		if got := p.must("exec", name, "stat", "-c", "%a", "/tmp/renamed"); got != "755\n" {
			t.Errorf("its mode is %q", got)
		}
	})
	t.Run("an empty directory", func(t *testing.T) {
		p := p.with(t)
		must(t, os.MkdirAll(at("tree/a/empty"), 0o755))
		p.must("cp", at("tree"), name+":/tmp")
		p.must("cp", name+":/tmp/tree", at("tree, back"))
		left, err := os.ReadDir(at("tree, back/a/empty"))
		must(t, err)
		if len(left) != 0 {
			t.Errorf("there is %v in it", left)
		}
	})
	t.Run("a hundred files", func(t *testing.T) {
		p := p.with(t)
		must(t, os.Mkdir(at("many"), 0o755))
		for i := range 100 {
			must(t, os.WriteFile(at("many/"+strconv.Itoa(i)), []byte(strconv.Itoa(i)), 0o644))
		}
		p.must("cp", at("many"), name+":/tmp")
		right := strings.TrimSpace(p.must("exec", name, "sh", "-c", "cd /tmp/many; for i in *; do test $(cat $i) = $i && echo; done | wc -l"))
		if right != "100" {
			t.Errorf("%s of them are right", right)
		}
	})
}
