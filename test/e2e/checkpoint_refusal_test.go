package e2e

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// refuses runs a command that has to fail with one line that has all the words.
func (p *person) refuses(words []string, args ...string) {
	p.t.Helper()
	r := p.vzctl(args...)
	if r.code == 0 || strings.Count(strings.TrimSpace(r.stderr), "\n") > 0 {
		p.t.Errorf("%v: exit code %d, %q", args, r.code, r.stderr)
	}
	for _, w := range words {
		if !strings.Contains(r.stderr, w) {
			p.t.Errorf("%v: no %q in %q", args, w, r.stderr)
		}
	}
}

func TestE2EWhatCannotBeCheckpointedIsRefusedAndGoesOn(t *testing.T) {
	p := alone(t)
	p.config("[networks.default]\nallow_host_loopback = true\n")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			if _, err := listener.Accept(); err != nil { // and nothing is said
				return
			}
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", counting)
	p.counts(name, 3)

	p.refuses([]string{"no such container"}, "checkpoint", "nobody")
	p.refuses([]string{"it has no checkpoint"}, "checkpoint", "--remove", name)
	p.refuses([]string{"it is running", "stop it first"}, "restore", "-d", name)

	// An exec whose caller waits.
	busy := p.command(t.Context(), "exec", name, "sleep", "1000")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(p.must("exec", name, "ps"), "sleep 1000") { // it starts
	}
	p.refuses([]string{"processes that were executed in it: 1"}, "checkpoint", name)
	_ = busy.Process.Signal(syscall.SIGTERM)
	_ = busy.Wait()

	// A connection to the host.
	p.must("exec", name, "sh", "-c", "(sleep 1000 | nc host.vzctl.internal "+port+") >/dev/null 2>&1 & for i in $(seq 100); do grep -q ' 01 ' /proc/net/tcp && exit; sleep 0.1; done; exit 1")
	p.refuses([]string{"open connections to others: 1", "--force"}, "checkpoint", name)
	reached := p.counted(name)
	p.counts(name, reached+3)
	if c, _ := p.find(name); c.State != "running" {
		t.Errorf("it is %s", c.State)
	}
	p.nothingLeft(name)
	p.must("checkpoint", "--force", name)
	p.refuses([]string{"it is stopped"}, "checkpoint", name)
	p.refuses([]string{"vzctl restore " + name, "vzctl checkpoint --remove " + name}, "start", name)
	p.must("checkpoint", "--remove", name)
	p.nothingLeft(name)
	p.refuses([]string{"it has no checkpoint"}, "restore", "-d", name)
	p.must("start", name)
}

// TestE2EACheckpointThatWasChangedIsNotLoaded harms it in several ways; each is refused, and the checkpoint stays.
func TestE2EACheckpointThatWasChangedIsNotLoaded(t *testing.T) {
	p := alone(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", counting)
	p.counts(name, 3)
	p.must("checkpoint", name)
	reached := p.counted(name)
	dir := filepath.Join(p.root, "sandboxes", p.sandbox(name))
	found, err := filepath.Glob(filepath.Join(dir, "checkpoint-*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	if info, err := os.Stat(found[0]); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	state, record, layer := filepath.Join(found[0], "state"), filepath.Join(found[0], "snapshot.json"), filepath.Join(dir, "layer.img")
	change := func(path string, do func([]byte) []byte) (back func()) {
		t.Helper()
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, do(append([]byte(nil), before...)), 0o600); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.WriteFile(path, before, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, path := range []string{state, record} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	back := change(state, flip)
	p.refuses([]string{"damaged"}, "restore", "-d", name)
	back()
	back = change(state, func(b []byte) []byte { return b[:len(b)-1] })
	p.refuses([]string{"damaged"}, "restore", "-d", name)
	back()
	for what, words := range map[string][]string{"QEMU": {"QEMU (", "is not the one"}, "Kernel": {"the kernel (", "is not the one"}, "Initrd": {"the initrd (", "is not the one"}} {
		back = change(record, func(b []byte) []byte {
			var all map[string]any
			if err := json.Unmarshal(b, &all); err != nil {
				t.Fatal(err)
			}
			all["Machine"].(map[string]any)[what].(map[string]any)["Digest"] = "of another"
			b, err := json.Marshal(all)
			if err != nil {
				t.Fatal(err)
			}
			return b
		})
		p.refuses(words, "restore", "-d", name)
		back()
	}
	if err := os.Chmod(state, 0o640); err != nil {
		t.Fatal(err)
	}
	p.refuses([]string{"not a file of this user alone"}, "restore", "-d", name)
	if err := os.Chmod(state, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(layer)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(layer, info.ModTime().Add(1), info.ModTime().Add(1)); err != nil {
		t.Fatal(err)
	}
	p.refuses([]string{layer, "it was changed since the checkpoint"}, "restore", "-d", name)
	if err := os.Chtimes(layer, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	p.nothingRuns()
	p.must("restore", "-d", name)
	p.counts(name, reached+3)
}

// TestE2EAContainerWhoseAddressIsTakenIsNotRestored gives its address to another meanwhile.
func TestE2EAContainerWhoseAddressIsTakenIsNotRestored(t *testing.T) {
	p := alone(t)
	name, other := p.name(), p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", counting)
	p.counts(name, 3)
	before, _ := p.find(name)
	p.must("checkpoint", name)
	reached := p.counted(name)
	p.must("create", "--name", other, p.desk.busybox, "sleep", "1000")
	// The other asks for it, as it would if it had had it before.
	mine, theirs := filepath.Join(p.root, "sandboxes", p.sandbox(name), "sandbox.json"), filepath.Join(p.root, "sandboxes", p.sandbox(other), "sandbox.json")
	var wanted, record map[string]any
	for path, into := range map[string]*map[string]any{mine: &wanted, theirs: &record} {
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	endpoint := wanted["endpoint"].(map[string]any)
	record["endpoint"] = map[string]any{"Addresses": endpoint["Addresses"], "Link": endpoint["Link"]}
	text, err := json.Marshal(record)
	if err == nil {
		err = os.WriteFile(theirs, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.must("start", other)
	if now, _ := p.find(other); strings.Join(now.Addresses, " ") != strings.Join(before.Addresses, " ") {
		t.Fatalf("the other has %v, not %v", now.Addresses, before.Addresses)
	}
	p.refuses([]string{"address ", " is taken"}, "restore", "-d", name)
	p.must("rm", "-f", other)
	p.must("restore", "-d", name)
	p.counts(name, reached+3)
}
