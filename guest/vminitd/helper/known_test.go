package helper

import (
	"errors"
	"os"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestAnAccountIsKnownWhileItsFilesAreTheSame(t *testing.T) {
	dir := t.TempDir()
	passwd, group := dir+"/etc/passwd", dir+"/etc/group"
	write := func(path, text string, age time.Duration) {
		t.Helper()
		then := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o644), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(at) }()
	var k Known
	home := func(name string, groups ...string) string {
		t.Helper()
		a, err := k.lookUp(root(at), name, groups, specs.User{})
		if err != nil {
			t.Fatal(err)
		}
		return a.home
	}
	write(group, "more:x:7:\n", 0)
	write(passwd, "root:x:0:0::/one:\nother:x:1:1::/else:\n", 0)
	if got := home(""); got != "/one" || len(k.user.files) > 0 {
		t.Errorf("%q, and it is remembered: %v", got, k.user) // the next change may have the same time
	}
	time.Sleep(settled + 50*time.Millisecond) // the kernel's time of a change is nobody's to set
	for range 2 {
		if got := home(""); got != "/one" || len(k.user.files) != 1 {
			t.Errorf("%q, remembered is %v", got, k.user)
		}
	}
	if got := home("other", "more"); got != "/else" || len(k.user.files) != 2 {
		t.Errorf("another's: %q, remembered is %v", got, k.user)
	}
	write(passwd, "root:x:0:0::/two:\nother:x:1:1::/gone:\n", time.Hour)
	if got := home("other", "more"); got != "/gone" {
		t.Errorf("after a change of passwd: %q", got)
	}
	if err := errors.Join(os.Rename(dir+"/etc", dir+"/real"), os.Symlink("/real", dir+"/etc")); err != nil { // which leads elsewhere for who does not know the root
		t.Fatal(err)
	}
	for range 2 {
		if got := home("other", "more"); got != "/gone" || len(k.user.files) != 2 {
			t.Errorf("by a link: %q, remembered is %v", got, k.user)
		}
	}
	write(dir+"/real/passwd", "root:x:0:0::/two:\nother:x:1:1::/three:\n", time.Hour)
	if got := home("other", "more"); got != "/three" {
		t.Errorf("after a change of passwd behind a link: %q", got)
	}
	if err := os.Remove(dir + "/real/group"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.lookUp(root(at), "other", []string{"more"}, specs.User{}); err == nil {
		t.Error("a group that is gone is found")
	}
}

func TestTheListOfLimitsIsMadeOnceForAll(t *testing.T) {
	var k Known
	capabilities := &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}}
	filters := []Filter{{Program: make([]byte, 8)}}
	first, err := k.limit(&specs.Process{Capabilities: capabilities}, account{uid: 1}, false, filters)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		process specs.Process
		user    account
		filters []Filter
		same    bool
	}{
		"the same":           {specs.Process{Capabilities: capabilities}, account{uid: 1}, filters, true},
		"another user":       {specs.Process{Capabilities: capabilities}, account{uid: 2}, filters, false},
		"another group":      {specs.Process{Capabilities: capabilities}, account{uid: 1, groups: []int{3}}, filters, false},
		"other capabilities": {specs.Process{Capabilities: &specs.LinuxCapabilities{}}, account{uid: 1}, filters, false},
		"no new privileges":  {specs.Process{Capabilities: capabilities, NoNewPrivileges: true}, account{uid: 1}, filters, false},
		"other resources":    {specs.Process{Capabilities: capabilities, Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}}}, account{uid: 1}, filters, false},
		"no filter":          {specs.Process{Capabilities: capabilities}, account{uid: 1}, nil, false},
	} {
		k.limits = limits{capabilities, false, nil, account{uid: 1}, filters, first}
		if got, err := k.limit(&test.process, test.user, false, test.filters); err != nil || (got == first) != test.same {
			t.Errorf("%s: the first one's %v, %v", name, got == first, err)
		}
	}
}
