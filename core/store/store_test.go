package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func open(t *testing.T) *Store {
	t.Helper()
	short, err := os.MkdirTemp("/tmp", "store") // sockets need it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(short); err != nil {
			t.Error(err)
		}
	})
	s, err := OpenPaths(Paths{Root: filepath.Join(t.TempDir(), "root"), Run: filepath.Join(short, "run")})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s *Store, name string) Container {
	t.Helper()
	id := NewID()
	held, err := s.Create(deadline(t), Container{ID: id, Name: name, Created: time.Now(), Sandbox: id})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := s.CreateSandbox(deadline(t), Sandbox{ID: id, Containers: []string{id}}); err != nil {
		t.Fatal(err)
	}
	return advance(t, s, id, lifecycle.Made)
}

func advance(t *testing.T, s *Store, id string, events ...lifecycle.Event) Container {
	t.Helper()
	c, err := s.Update(deadline(t), id, func(c *Container) error {
		for _, e := range events {
			if err := c.Advance(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestContainerIsFoundByNameIDAndBeginningOfItsID(t *testing.T) {
	s := open(t)
	c := create(t, s, "web")
	for _, ref := range []string{"web", c.ID, ShortID(c.ID), c.ID[:1]} {
		if got, err := s.Find(ref); err != nil || got.ID != c.ID {
			t.Errorf("%q: %q, %v", ref, got.ID, err)
		}
	}
	for _, ref := range []string{"", "we", "../web", "a/b", strings.Repeat("0", 32), strings.Repeat("a", 65)} {
		if _, err := s.Find(ref); !errors.Is(err, fault.NotFound) {
			t.Errorf("%q: error %v", ref, err)
		}
	}
}

func TestAmbiguousBeginningIsRefusedWithAllThatItMeans(t *testing.T) {
	s := open(t)
	var ids []string
	for i := range 17 { // two of them begin alike
		ids = append(ids, create(t, s, fmt.Sprintf("c%d", i)).ID)
	}
	slices.Sort(ids)
	for i := 1; i < len(ids); i++ {
		if ids[i][0] != ids[i-1][0] {
			continue
		}
		_, err := s.Find(ids[i][:1])
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), ShortID(ids[i])) || !strings.Contains(err.Error(), ShortID(ids[i-1])) {
			t.Errorf("error %v", err)
		}
		return
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "Web-1.a_b", "0", strings.Repeat("a", 64)} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	tests := []struct{ name, want string }{
		{"", "it is empty"},
		{strings.Repeat("a", 65), "it has 65 characters, 64 are allowed"},
		{"-a", "the first a letter or digit"},
		{"a b", "only letters"},
		{"a/b", "only letters"},
		{"..", "only letters"},
		{"a\n", "only letters"},
		{"ä", "only letters"},
	}
	for _, test := range tests {
		if err := CheckName(test.name); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v", test.name, err)
		}
	}
}

func TestOfManyCreatorsOfOneNameOneWins(t *testing.T) {
	s := open(t)
	var won atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			held, err := s.Create(deadline(t), Container{ID: NewID(), Name: "web"})
			switch {
			case err == nil:
				won.Add(1)
				held.Close()
			case !errors.Is(err, fault.AlreadyExists):
				t.Error(err)
			}
		})
	}
	all.Wait()
	entries, err := s.List()
	if won.Load() != 1 || err != nil || len(entries) != 1 {
		t.Errorf("%d won, %d containers, %v", won.Load(), len(entries), err)
	}
}

func TestTakenNameIsFreeAfterRemoval(t *testing.T) {
	s := open(t)
	c := create(t, s, "web")
	_, err := s.Create(deadline(t), Container{ID: NewID(), Name: "web"})
	want := `use name "web": container ` + ShortID(c.ID) + ` has it; remove that one or choose another name`
	if err == nil || err.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
	for range 2 { // removal may be repeated
		if err := s.Remove(deadline(t), c.ID); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(s.paths.Root, "*", c.ID+"*")); err != nil || len(left) != 1 { // the sandbox
		t.Errorf("left: %q, %v", left, err)
	}
	create(t, s, "web")
}

func TestNameOfACreatorThatDiedIsFree(t *testing.T) {
	s := open(t)
	id := NewID()
	if err := os.WriteFile(s.paths.Name("web"), []byte(id), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.paths.staging(), id), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find("web"); !errors.Is(err, fault.NotFound) {
		t.Errorf("error %v", err)
	}
	create(t, s, "web")
	if left, err := os.ReadDir(s.paths.staging()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestRefusedChangeLeavesTheRecord(t *testing.T) {
	s := open(t)
	c := create(t, s, "web")
	_, err := s.Update(deadline(t), c.ID, func(c *Container) error {
		c.Name = "other"
		return c.Advance(lifecycle.Exec)
	})
	if want := `cannot execute in container "other": it is created but not started; start it first`; err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
	if got, err := s.Get(c.ID); err != nil || got.Name != "web" {
		t.Errorf("record %+v, %v", got, err)
	}
}

func TestConcurrentChangesAreAllKeptAndReadersSeeWholeRecords(t *testing.T) {
	s := open(t)
	c := create(t, s, "web")
	done := make(chan struct{})
	var writers, readers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if got, err := s.Get(c.ID); err != nil || got.Name != "web" {
					t.Errorf("record %+v, %v", got, err)
					return
				}
			}
		}
	})
	for range 4 {
		writers.Go(func() {
			for range 25 {
				_, err := s.Update(deadline(t), c.ID, func(c *Container) error { c.Restart.Count++; return nil })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if got, err := s.Get(c.ID); err != nil || got.Restart.Count != 100 {
		t.Errorf("count %d, %v", got.Restart.Count, err)
	}
	if files, err := os.ReadDir(s.paths.Container(c.ID)); err != nil || len(files) != 3 {
		t.Errorf("files %v, %v", files, err)
	}
}

func TestRecordsAreReadableByTheirOwnerOnly(t *testing.T) {
	s := open(t)
	c := create(t, s, "web")
	run, err := s.MakeSandboxRun(c.ID)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.Walk(filepath.Dir(s.paths.Root), func(path string, info os.FileInfo, err error) error {
		if err == nil && path != filepath.Dir(s.paths.Root) && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(run); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestDamagedRecordIsListedAndRemovable(t *testing.T) {
	tests := []struct{ name, content, want string }{
		{"cut off", `{"schema":1,"id":`, "damaged record: unexpected end of JSON input"},
		{"empty", "", "damaged record"},
		{"of another container", `{"schema":1,"id":"00000000000000000000000000000000"}`, "damaged record: it is of"},
		{"without version", `{}`, "damaged record: it has no schema version"},
		{"newer", `{"schema":3,"process":"something else"}`, "a newer vzctl wrote it (record version 3, this one knows 2); update vzctl"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			good, bad := create(t, s, "good"), create(t, s, "bad")
			if err := os.WriteFile(s.paths.ContainerRecord(bad.ID), []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			entries, err := s.List()
			if err != nil || len(entries) != 2 || entries[0].ID != good.ID || entries[1].ID != bad.ID {
				t.Fatalf("listed %+v, %v", entries, err)
			}
			if err := entries[1].Err; err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v", err)
			}
			if _, err := s.Leases(); err == nil {
				t.Error("leases are known although a record is damaged")
			}
			id, err := s.Resolve("bad")
			if err != nil || id != bad.ID {
				t.Fatalf("resolved to %q, %v", id, err)
			}
			if err := s.Remove(deadline(t), id); err != nil {
				t.Fatal(err)
			}
			create(t, s, "bad")
		})
	}
}

func TestMissingRecordIsDamage(t *testing.T) {
	s := open(t)
	c := create(t, s, "web")
	if err := os.Remove(s.paths.ContainerRecord(c.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(c.ID); err == nil || errors.Is(err, fault.NotFound) {
		t.Errorf("error %v", err)
	}
}

func TestContainerIsLostWhenNobodyLooksAfterIt(t *testing.T) {
	s := open(t)
	c := create(t, s, "web")
	verb, err := s.LockContainer(deadline(t), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	advance(t, s, c.ID, lifecycle.Start)
	state := func(want lifecycle.State) Container {
		t.Helper()
		got, err := s.Get(c.ID)
		if err != nil || got.State != want {
			t.Fatalf("state %s, %v, want %s", got.State, err, want)
		}
		return got
	}
	state(lifecycle.Starting) // by the verb
	life, err := lock.Acquire(deadline(t), s.paths.SandboxLife(c.ID))
	if err != nil {
		t.Fatal(err)
	}
	verb.Close()
	state(lifecycle.Starting) // by the supervisor
	advance(t, s, c.ID, lifecycle.Started)
	state(lifecycle.Running)
	life.Close()
	lost := state(lifecycle.Stopped)
	if lost.Exit == nil || lost.Exit.Reason != lifecycle.ReasonLost || lost.Exit.Message != "its supervisor ended while it was running" {
		t.Errorf("exit %+v", lost.Exit)
	}
	if err := s.WriteLastWords(c.ID, Exit{Code: 1, Reason: lifecycle.ReasonVMCrashed, Message: "QEMU was killed", Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if got := state(lifecycle.Stopped); got.Exit.Reason != lifecycle.ReasonVMCrashed {
		t.Errorf("exit %+v", got.Exit)
	}
	// The next verb sees it stopped, and what it writes stays.
	if got := advance(t, s, c.ID, lifecycle.Remove); got.Exit == nil {
		t.Error("the end was not recorded")
	}
}

func TestInterruptedCreationHasFailed(t *testing.T) {
	s := open(t)
	id := NewID()
	held, err := s.Create(deadline(t), Container{ID: id, Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.Get(id); err != nil || c.State != lifecycle.Creating {
		t.Errorf("state %s, %v", c.State, err)
	}
	held.Close()
	if c, err := s.Get(id); err != nil || c.State != lifecycle.Failed {
		t.Errorf("state %s, %v", c.State, err)
	}
}

func TestSettle(t *testing.T) {
	asked := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	words := &Exit{Code: 3, Reason: lifecycle.ReasonOOM, Time: asked.Add(time.Second)}
	tests := []struct {
		name   string
		state  lifecycle.State
		alive  bool
		boot   string
		last   *Exit
		want   lifecycle.State
		reason lifecycle.Reason
	}{
		{"running and looked after", lifecycle.Running, true, "now", nil, lifecycle.Running, ""},
		{"running and abandoned", lifecycle.Running, false, "now", nil, lifecycle.Stopped, lifecycle.ReasonLost},
		{"abandoned with last words", lifecycle.Running, false, "now", words, lifecycle.Stopped, lifecycle.ReasonOOM},
		{"last words of an earlier run", lifecycle.Running, false, "now", &Exit{Reason: lifecycle.ReasonOOM}, lifecycle.Stopped, lifecycle.ReasonLost},
		{"lock held by a stranger after a reboot", lifecycle.Running, true, "before", nil, lifecycle.Stopped, lifecycle.ReasonLost},
		{"paused and abandoned", lifecycle.Paused, false, "now", nil, lifecycle.Stopped, lifecycle.ReasonLost},
		{"created before a reboot", lifecycle.Created, false, "before", nil, lifecycle.Created, ""},
		{"stopped", lifecycle.Stopped, false, "now", words, lifecycle.Stopped, ""},
		{"creation interrupted", lifecycle.Creating, false, "now", nil, lifecycle.Failed, lifecycle.ReasonLost},
		{"removal interrupted", lifecycle.Removing, false, "before", nil, lifecycle.Removing, ""},
	}
	for _, test := range tests {
		got := Settle(Container{State: test.state, BootID: test.boot, Run: &Run{Asked: asked}}, test.alive, "now", test.last)
		reason := lifecycle.Reason("")
		if got.Exit != nil {
			reason = got.Exit.Reason
		}
		if got.State != test.want || reason != test.reason {
			t.Errorf("%s: %s %q, want %s %q", test.name, got.State, reason, test.want, test.reason)
		}
	}
}

func TestLeasesNameWhatContainersUse(t *testing.T) {
	s := open(t)
	c := create(t, s, "web")
	manifest := digest.FromString("manifest")
	_, err := s.Update(deadline(t), c.ID, func(c *Container) error {
		c.Manifest, c.Disks = manifest, []rootfs.Disk{{Path: "/base.img"}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateSandbox(deadline(t), c.ID, func(b *Sandbox) error { b.Kernel = kernel.Kernel{Path: "/vmlinux"}; return nil }); err != nil {
		t.Fatal(err)
	}
	l, err := s.Leases()
	if err != nil || !slices.Equal(l.Manifests[manifest], []string{c.ID}) || len(l.Disks["/base.img"]) != 1 || len(l.Kernels["/vmlinux"]) != 1 {
		t.Errorf("leases %+v, %v", l, err)
	}
	if err := errors.Join(s.Remove(deadline(t), c.ID), s.RemoveSandbox(deadline(t), c.ID)); err != nil {
		t.Fatal(err)
	}
	if l, err := s.Leases(); err != nil || len(l.Manifests)+len(l.Disks)+len(l.Kernels) > 0 {
		t.Errorf("leases after removal %+v, %v", l, err)
	}
}

func TestLockOfAContainerThatIsRemovedMeanwhileIsNotFound(t *testing.T) {
	s := open(t)
	c := create(t, s, "web")
	held, err := s.LockContainer(deadline(t), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := s.LockContainer(deadline(t), c.ID)
		failed <- err
	}()
	if err := s.Remove(deadline(t), c.ID); err != nil {
		t.Fatal(err)
	}
	held.Close()
	if err := <-failed; !errors.Is(err, fault.NotFound) {
		t.Errorf("error %v", err)
	}
}
