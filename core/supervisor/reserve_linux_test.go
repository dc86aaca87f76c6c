package supervisor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
)

// TestASupervisorWaitsForWhoeverWouldMakeTheSame changes one thing after the other of what a supervisor would be made of.
func TestASupervisorWaitsForWhoeverWouldMakeTheSame(t *testing.T) {
	dir := t.TempDir()
	place := func(name string) *store.Store {
		st, err := store.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path+".new", []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	type made struct {
		Wanted
		store *store.Store
	}
	one := made{Wanted{Program: []string{file("vzctl", "1")}, Hypervisor: file("hypervisor", "1"), Surroundings: []string{"a", "b"}}, place("root")}
	key := func(m made) string {
		key, _, err := m.key(m.store)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	before := key(one)
	t.Setenv("SOME_OTHER", "variable")
	if key(one) != before {
		t.Error("a variable that it is sent makes another of it")
	}
	seen := map[string]string{before: "as it was"}
	for _, change := range []struct {
		what string
		do   func(m *made)
	}{
		{"the root", func(m *made) { m.store = place("another") }},
		{"the log", func(m *made) { m.Verbose = true }},
		{"the surroundings", func(m *made) { m.Surroundings = []string{"a", "c"} }},
		{"a pin", func(m *made) { m.Plugins.SHA256 = map[string]string{"hypervisor": "ab"} }},
		{"directories of plugins", func(m *made) { m.Plugins.Dirs = []string{"/opt"} }},
		{"which plugins serve", func(m *made) { m.Plugins.Use = map[sdk.Kind]string{sdk.Network: "net"} }},
		{"another plugin", func(m *made) { m.Hypervisor = file("hypervisor2", "1") }},
		{"the plugin is replaced", func(m *made) { m.Hypervisor = file("hypervisor", "2") }},
		{"the program is replaced", func(m *made) { m.Program = []string{file("vzctl", "2")} }},
		{"a variable for plugins", func(*made) { t.Setenv("VZCTL_SOMETHING", "1") }},
		{"a variable that plugins inherit", func(*made) { t.Setenv("PATH", "/nowhere") }},
		{"a variable that Go reads first", func(*made) { t.Setenv("GOMAXPROCS", "1") }},
	} {
		other := one
		change.do(&other)
		if was, ok := seen[key(other)]; ok {
			t.Errorf("%s changes nothing: it is %s", change.what, was)
		}
		seen[key(other)] = change.what
	}
	one.Program = []string{filepath.Join(dir, "nothing")}
	if _, _, err := one.key(one.store); err == nil {
		t.Error("a program that is not there has a key")
	}
}

func TestASupervisorIsToldOfTheNextAndTellsNobody(t *testing.T) {
	r := &Reserve{next: nextReserve{Key: "k", Keep: 5, Program: "1 2 {3 4}"}}
	variables := r.variable()
	if len(variables) != 1 {
		t.Fatal(variables)
	}
	t.Setenv(nextReserveKey, variables[0][len(nextReserveKey)+1:])
	if got := takeNextReserve(); got != r.next {
		t.Errorf("it is told %+v", got)
	}
	if _, ok := os.LookupEnv(nextReserveKey); ok {
		t.Error("its children would be told, too")
	}
	if got := takeNextReserve(); got.Key != "" {
		t.Errorf("told nothing it is told %+v", got)
	}
	for _, none := range []*Reserve{nil, {next: nextReserve{Key: "k"}}} {
		if variables := none.variable(); len(variables) != 0 {
			t.Errorf("where there is to be no next: %q", variables)
		}
	}
}
