package guest

import (
	"errors"
	"strings"
	"testing"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// primed boots a machine of an image and a layer, and has it know both.
func primed(t *testing.T, reads ...string) *Guest {
	t.Helper()
	const script = "#!/bin/sh\n"
	g := Start(t, Options{Words: "vzctl.randomize=boot", Disks: []Disk{
		Image(t, Entry{Path: "/bin/endless", Mode: 0o755, Body: script + "while :; do :; done\n"}, Entry{Path: "/bin/greedy", Mode: 0o755, Body: script + "x=1234567890; while :; do x=$x$x; done\n"},
			Entry{Path: "/bin/evil", Mode: 0o755, Body: script + "echo evil > /tmp/evil\nmkdir /tmp/evil.d\n"}, Entry{Path: "/root/app", Mode: 0o700, Body: script},
			Entry{Path: "/bin/rubbish", Mode: 0o755, Body: "\x7fELF rubbish"}).Named("rootfs0"), Layer(t).Named("layer")}})
	lower := []*guestv1.Disk{{Serial: "rootfs0", FileSystem: "ext4"}}
	if _, err := g.Prime(t.Context(), &guestv1.PrimeRequest{Lower: lower, Reads: reads}); err != nil {
		t.Fatal(err)
	}
	upper := &guestv1.PrimeRequest{Upper: &guestv1.Disk{Serial: "layer", FileSystem: "ext4"}}
	if _, err := g.Prime(t.Context(), upper); err != nil {
		t.Fatal(err)
	}
	for _, again := range []*guestv1.PrimeRequest{upper, {Lower: lower}} {
		if _, err := g.Prime(t.Context(), again); !errors.Is(err, fault.FailedPrecondition) {
			t.Errorf("to prime it once more gives %v", err)
		}
	}
	return g
}

// lookAround says where a container's root is mounted, whether the program that was run before has left anything, and in which cgroups there are processes; and whether it can be written to.
const lookAround = "grep -c primed/root/upper /proc/self/mountinfo; ls /tmp; echo new > /new && cat /new"

// A program that is run before there is a container does not matter, whatever it is; and a container of other disks than those that are mounted has its own.
func TestAMachineThatIsPrimed(t *testing.T) {
	for name, test := range map[string]struct {
		reads  []string
		ask    func(*guestv1.CreateContainerRequest)
		before bool // mounted
	}{
		"with a program":                              {[]string{"/bin/none", "/etc/passwd", "/bin/true"}, nil, true},
		"with one that does not end":                  {[]string{"/bin/endless"}, nil, true},
		"with one that wants all memory":              {[]string{"/bin/greedy"}, nil, true},
		"with one that would do something":            {[]string{"/bin/evil"}, nil, true},
		"with one that is root's alone":               {[]string{"/root/app"}, nil, true},
		"with one that is none and a journal of data": {[]string{"/bin/rubbish"}, func(r *guestv1.CreateContainerRequest) { r.UpperJournal = "journal" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := primed(t, test.reads...)
			for i, mounted := range []bool{test.before, false} { // what is mounted is for one
				id := string(rune('a' + i))
				result, err := g.Run(Container{ID: id, Args: []string{"sh", "-c", lookAround}, Ask: test.ask}, nil)
				want := "0\nnew\n"
				if mounted {
					want = "1\nnew\n"
				}
				if err != nil || result.Stdout != want {
					t.Errorf("container %s says %q, %v; want %q\n%s", id, result.Stdout, err, want, result.Stderr)
				}
			}
			if said := g.Console(); strings.Contains(said, "panic") || strings.Contains(said, "EXT4-fs error") {
				t.Errorf("the machine says:\n%s", said)
			}
		})
	}
}
