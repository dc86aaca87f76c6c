package procfs

import (
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// process writes what the kernel would say.
func process(t *testing.T, proc string, pid, parent int, name, status, cmdline string) {
	t.Helper()
	dir := filepath.Join(proc, strconv.Itoa(pid))
	stat := strconv.Itoa(pid) + " (" + name + ") S " + strconv.Itoa(parent) + " 1 1 34817 1 4194304 0 0 0 0 150 50 0 0 20 0 1 0 1234 1000 3 0 0\n"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"stat": stat, "status": status, "cmdline": cmdline} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProcessesAreThoseTheContainerSees(t *testing.T) {
	proc := t.TempDir()
	process(t, proc, 70, 1, "sh", "Name:\tsh\nUid:\t0\t1000\t0\t0\nNSpid:\t70\t1\n", "sh\x00-c\x00sleep 5\x00")
	process(t, proc, 71, 70, "a ) S 1 (b", "Uid:\t0\t0\t0\t0\nNSpid:\t71\t9\n", "")
	process(t, proc, 72, 71, "bad", "NSpid:\t72\t10\n", "\xff\xfe\x00"+strings.Repeat("x", 2*maxCommand))
	got, err := Read(proc, []int{70, 71, 72, 73})
	if err != nil {
		t.Fatal(err)
	}
	usual := Process{State: "S", CPU: 2 * time.Second, Started: 12340 * time.Millisecond, Resident: 3 * page, Terminal: "pts/1"}
	want := []Process{usual, usual, usual}
	want[0].Pid, want[0].UID, want[0].Command = 1, 1000, "sh -c sleep 5"
	want[1].Pid, want[1].Parent, want[1].Command = 9, 1, "[a ) S 1 (b]"
	want[2].Pid, want[2].Parent, want[2].Command = 10, 9, "? "+strings.Repeat("x", maxCommand-3)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestThisProcess(t *testing.T) {
	got, err := Read("/proc", []int{os.Getpid()})
	if err != nil || len(got) != 1 || got[0].Resident == 0 || !strings.Contains(got[0].Command, "test") || got[0].Started == 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTerminalsOfContainers(t *testing.T) {
	for number, want := range map[uint64]string{0: "", 136 << 8: "pts/0", 136<<8 | 7: "pts/7", 137<<8 | 1: "pts/257", 4<<8 | 1: "", 5 << 8: ""} {
		if got := terminal(number); got != want {
			t.Errorf("%d is %q, want %q", number, got, want)
		}
	}
}

func TestNamesOfUsersAreTheContainers(t *testing.T) {
	root := t.TempDir()
	if got := Users(root); len(got) != 0 {
		t.Errorf("without a passwd %v", got)
	}
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := "# users\nroot:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/\n\napp:x:1000:1000\n:x:5:5::\nbad:x:z:1::\n" + strings.Repeat("l", 100) + ":x:7:7::\nshort:x\n"
	if err := os.WriteFile(filepath.Join(root, "real"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/real", filepath.Join(root, "etc/passwd")); err != nil { // in the container's root
		t.Fatal(err)
	}
	if got, want := Users(root), map[uint32]string{0: "root", 1000: "app"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func FuzzProcess(f *testing.F) {
	f.Add("1 (a) S 1 2 3", "Uid:\t0\t1\nNSpid:\t1\t2\n", "root:x:0:0::/:/bin/sh\n")
	f.Fuzz(func(t *testing.T, stat, status, passwd string) {
		var p Process
		p.readStat(stat)
		p.readStatus(status)
		for _, name := range names(passwd) {
			if len(name) > maxName*3 {
				t.Errorf("a name of %d bytes", len(name))
			}
		}
	})
}
