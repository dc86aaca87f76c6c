package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// seenByItself has a process tell all of itself that does not differ from one to the next.
const seenByItself = `grep -E 'Uid|Gid|Groups|Umask|Sig[BIC]|Cap|NoNewPrivs|Seccomp|TracerPid|Threads' /proc/self/status; cat /proc/self/limits /proc/self/cgroup /proc/self/oom_score_adj
for n in pid mnt ipc uts cgroup net; do readlink /proc/self/ns/$n; done
pwd; env | sort; ls -l /proc/$$/fd | sed -n 's/.* \([0-9]* ->\)/\1/; s/:\[[0-9]*\]//; s/proc.[0-9]*/proc/; s/pts.[0-9]*/pts/; / -> /p'
set -- $(cat /proc/$$/stat); [ $1 = $5 ] && [ $1 = $6 ] && echo own session; [ $7 != 0 ] && echo terminal; [ $8 = $1 ] && echo foreground
touch /tmp/made && stat -c '%A %u %g' /tmp/made; rm -f /tmp/made; cat /proc/self/attr/current /proc/self/timerslack_ns 2>/dev/null; ls -l /proc/$$/exe | sed 's/.*->//'`

// further runs a further process to its end, and tells how it was made.
func further(t *testing.T, g *Guest, id string, p specs.Process, user string) (said string, exit *guestv1.Exit, phases []string) {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{ContainerId: "c", ProcessId: id, OciProcess: text, User: user}); err != nil {
		t.Fatal(err)
	}
	started, err := g.StartProcess(t.Context(), &guestv1.StartProcessRequest{ContainerId: "c", ProcessId: id, ReportPhases: true})
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	for _, phase := range started.Phases {
		phases = append(phases, phase.Name)
	}
	kind := guestv1.StreamKind_STREAM_KIND_STDOUT
	if p.Terminal {
		kind = guestv1.StreamKind_STREAM_KIND_TERMINAL
	}
	conn, err := g.Open("c", id, kind)
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(out), "\r\n", "\n"), g.Wait("c", id), phases
}

// TestVMWhatIsMadeWithoutAHelperIsWhatAHelperMakes has the same processes made both ways.
func TestVMWhatIsMadeWithoutAHelperIsWhatAHelperMakes(t *testing.T) {
	g := start(t)
	sleeper(t, g)
	shell := func(edit func(*specs.Process)) specs.Process {
		p := specs.Process{Args: []string{"sh", "-c", seenByItself}, Env: []string{"PATH=/nosuch:/bin", "WORD=a"}, Cwd: "/"}
		edit(&p)
		return p
	}
	umask := uint32(0o077)
	tests := []struct {
		name, user string
		process    specs.Process
	}{
		{"as it comes", "", shell(func(*specs.Process) {})},
		{"of a user", "alice", shell(func(p *specs.Process) { p.Cwd = "/tmp" })},
		{"of a user and a group by number", "4242:77", shell(func(p *specs.Process) { p.User.AdditionalGids = []uint32{5, 6} })},
		{"with a umask, a limit, and no new privileges", "", shell(func(p *specs.Process) {
			p.User.Umask, p.NoNewPrivileges = &umask, true
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 600000}, {Type: "RLIMIT_CORE", Soft: 1, Hard: 2}}
		})},
		{"with capabilities of its own", "alice", shell(func(p *specs.Process) {
			some := []string{"CAP_CHOWN", "CAP_NET_RAW"}
			p.Capabilities = &specs.LinuxCapabilities{Bounding: append(some, "CAP_KILL"), Permitted: some, Effective: some[:1], Inheritable: some, Ambient: some[1:]}
		})},
		{"with a terminal", "alice", shell(func(p *specs.Process) { p.Terminal, p.ConsoleSize = true, &specs.Box{Width: 90, Height: 30} })},
		{"in a directory that is made", "", shell(func(p *specs.Process) { p.Cwd = "/made/for/it" })},
		{"by its path", "", shell(func(p *specs.Process) { p.Args[0] = "/bin/sh" })},
	}
	said := map[string]string{}
	for i, test := range tests {
		out, exit, phases := further(t, g, fmt.Sprint("direct", i), test.process, test.user)
		if exit.Code != 0 || strings.Count(out, "\n") < 40 || slices.Contains(phases, "fork") || !slices.Contains(phases, "execute") {
			t.Errorf("%s: made by %q, exit %v:\n%s", test.name, phases, exit, out)
		}
		said[test.name] = out
	}
	// Who could look into the machine's processes never sees one that has its memory.
	intruder := shell(func(p *specs.Process) {
		p.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_SYS_PTRACE"}, Permitted: []string{"CAP_SYS_PTRACE"}, Effective: []string{"CAP_SYS_PTRACE"}}
	})
	if _, _, phases := further(t, g, "intruder", intruder, ""); !slices.Contains(phases, "fork") {
		t.Errorf("the intruder was made by %q", phases)
	}
	for i, test := range tests {
		out, _, phases := further(t, g, fmt.Sprint("helper", i), test.process, test.user)
		if !slices.Contains(phases, "fork") {
			t.Errorf("%s: made by %q", test.name, phases)
		}
		if direct := said[test.name]; direct != out {
			t.Errorf("%s:\n%s\nand by a helper\n%s", test.name, direct, out)
		}
	}
}

// checkBrief has processes told in the answer to their start, in container c.
func checkBrief(t *testing.T, g *Guest) {
	run := func(script string, wait uint32) *guestv1.CreateProcessResponse {
		t.Helper()
		text, err := json.Marshal(specs.Process{Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin"}, Cwd: "/"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := g.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{ContainerId: "c", ProcessId: "brief", OciProcess: text, Start: true, InputEnded: true,
			BriefMilliseconds: wait})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if _, err := g.Prime(t.Context(), &guestv1.PrimeRequest{}); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("to prime a machine that has a container gives %v", err)
	}
	const long = 1000
	for range 2 { // under the same id: of the first nothing is left
		if r := run("cat; echo said; echo cried >&2; exit 3", long); r.Exit.GetCode() != 3 || string(r.Stdout) != "said\n" || string(r.Stderr) != "cried\n" {
			t.Errorf("it was told %v", r)
		}
	}
	for name, script := range map[string]string{
		"goes on":                       "echo said; sleep 1000",
		"leaves others with its output": "echo said; sleep 1000 &",
		"writes more than a pipe holds": "echo said; head -c 200000 /dev/zero; sleep 1000",
	} {
		if r := run(script, 300); r.Exit != nil {
			t.Errorf("a process that %s: %v", name, r)
		}
		conn, err := g.Open("c", "brief", guestv1.StreamKind_STREAM_KIND_STDOUT)
		if err != nil {
			t.Fatal(err)
		}
		said := make([]byte, 5)
		if _, err := io.ReadFull(conn, said); err != nil || string(said) != "said\n" {
			t.Errorf("a process that %s said %q, %v", name, said, err)
		}
		_, err = g.SignalProcess(t.Context(), &guestv1.SignalProcessRequest{ContainerId: "c", ProcessId: "brief", Signal: 9})
		if err != nil && !errors.Is(err, fault.FailedPrecondition) { // it has ended
			t.Error(err)
		}
		g.Wait("c", "brief")
		if _, err := g.DeleteProcess(t.Context(), &guestv1.DeleteProcessRequest{ContainerId: "c", ProcessId: "brief"}); err != nil {
			t.Error(err)
		}
	}
}
