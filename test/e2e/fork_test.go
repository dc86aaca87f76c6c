package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// standing starts containers with some options until a VM stands by for them.
func (p *person) standing(options ...string) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for i := 0; ; i++ {
		// The first makes the template, the second has one stand by; should that fail, as when the host is short of memory for a moment, a later one does.
		if i < 2 || i%100 == 0 {
			p.must(append(append([]string{"run", "--rm"}, options...), "true")...)
		}
		var list []struct{ Description string }
		if err := json.Unmarshal([]byte(p.must("system", "template", "ls", "--format", "json")), &list); err != nil {
			p.t.Fatal(err)
		}
		for _, t := range list {
			if strings.Contains(t.Description, "stands by to be forked") {
				return
			}
		}
		if time.Now().After(deadline) {
			failure, _ := os.ReadFile(filepath.Join(p.root, "cache/qemu-hypervisor/standby/failure.log"))
			p.t.Fatalf("no VM stands by: %s", failure)
		}
		time.Sleep(50 * time.Millisecond) // nobody tells
	}
}

// qemu returns the process of a container's VM, and whether it was forked.
func (p *person) qemu(name string) (pid int, forked bool) {
	p.t.Helper()
	var inspected []struct{ Sandbox string }
	if err := json.Unmarshal([]byte(p.must("inspect", name)), &inspected); err != nil || len(inspected) != 1 || inspected[0].Sandbox == "" {
		p.t.Fatalf("inspect: %+v, %v", inspected, err)
	}
	pid = p.victim("qemu-system-", " -name "+inspected[0].Sandbox+" ")
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", parentOf(p.t, pid)))
	return pid, err == nil && strings.Contains(string(line), "hold-vm")
}

// forks starts a container that has to be forked, and returns its name.
func (p *person) forks(args ...string) string {
	p.t.Helper()
	name := p.name()
	p.must(append([]string{"run", "-d", "--name", name}, args...)...)
	if _, forked := p.qemu(name); !forked {
		p.t.Fatalf("the VM of %s was not forked: %q", name, p.log())
	}
	return name
}

// TestE2EForksHaveNoSecretNorTimeInCommon is TestE2EClonesHaveNoSecretNorTimeInCommon for VMs that are forked.
func TestE2EForksHaveNoSecretNorTimeInCommon(t *testing.T) {
	for name, options := range map[string][]string{"CPU without random numbers": {"--hypervisor-opt", "cpu=max,-erms,-fsrm,-rdrand,-rdseed"}, "three CPUs, code placed for each process": {"--cpus", "3", "--hypervisor-opt", "randomize=process"}} {
		t.Run(name, func(t *testing.T) {
			p := alone(t)
			own := slices.Contains(options, "randomize=process")
			options := append([]string{"-m", "512m"}, append(options, p.desk.probeImage(t))...)
			begun := time.Now()
			p.standing(options...)
			making := time.Since(begun)
			name := p.forks(append(options, "sleep", "1000")...)
			var first, second seen
			for _, s := range []*seen{&first, &second} {
				if err := json.Unmarshal([]byte(p.must("exec", name, "probe")), s); err != nil {
					t.Fatal(err)
				}
			}
			const stack = "address of the stack"
			if first.Differ[stack] == second.Differ[stack] || (first.Mapping == second.Mapping) == own {
				t.Errorf("two processes of a container have stacks at %s and %s, and mappings at %s and %s", first.Differ[stack], second.Differ[stack], first.Mapping, second.Mapping)
			}
			p.must("rm", "-f", name)
			p.haveNothingInCommon(options, making, own)
		})
	}
}

// rehearsed is the word of the kernel's command line that a VM which stands by has, and its copies.
const rehearsed = " vzctl.rehearse=full"

// TestE2EAForkIsAMachineOfItsOwn looks at VMs that are forked from one: what is left in them of its past, what is each one's own, and what remains of them.
func TestE2EAForkIsAMachineOfItsOwn(t *testing.T) {
	p := alone(t)
	p.standing(p.desk.busybox)
	t.Run("no trace of the rehearsal", func(t *testing.T) {
		p := &person{t, p.desk, p.root, p.env, p.command}
		booted, forked := p.presence("--hypervisor-opt", "templates=off"), p.presence()
		for i := range forked {
			forked[i] = strings.Replace(forked[i], rehearsed, "", 1)
		}
		sameSight(t, booted, forked)
	})
	t.Run("the machine's random numbers are each one's own", func(t *testing.T) {
		p := &person{t, p.desk, p.root, p.env, p.command}
		var drawn []string
		for range 2 {
			drawn = append(drawn, p.must("run", "--rm", "--privileged", p.desk.busybox, "sh", "-c", "head -c 64 /dev/hwrng | od -An -v -tx1"))
		}
		if len(drawn[0]) < 3*64 || drawn[0] == drawn[1] {
			t.Errorf("two machines give %q", drawn)
		}
	})
	t.Run("many leave nothing", func(t *testing.T) {
		p := &person{t, p.desk, p.root, p.env, p.command}
		p.nothingRuns()
		before := p.processes()
		for i := range 8 {
			if got := p.must("run", "--rm", p.desk.busybox, "echo", strconv.Itoa(i)); got != strconv.Itoa(i)+"\n" {
				t.Errorf("number %d printed %q", i, got)
			}
		}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if r := p.vzctl("run", "--rm", p.desk.busybox, "echo", strconv.Itoa(i)); r.code != 0 || r.stdout != strconv.Itoa(i)+"\n" {
					t.Errorf("of 8 at once, number %d: exit code %d, %q, %q", i, r.code, r.stdout, r.stderr)
				}
			})
		}
		all.Wait()
		p.nothingRuns()
		for pid, line := range p.processes() {
			if before[pid] == "" && !standsBy(line) { // one may be primed with the image meanwhile
				t.Errorf("new: %s", line)
			}
		}
		if left, err := os.ReadDir(filepath.Join(p.root, "sandboxes")); err != nil || slices.ContainsFunc(left, os.DirEntry.IsDir) {
			t.Errorf("left: %v, %v", left, err)
		}
	})
	for who, words := range map[string][]string{"the plugin": {"plugins/qemu-hypervisor"}, "the supervisor": {" supervise "}, "QEMU": nil} {
		t.Run("its VM ends with "+who, func(t *testing.T) {
			p := &person{t, p.desk, p.root, p.env, p.command}
			name := p.forks(p.desk.busybox, "sleep", "1000")
			victim, _ := p.qemu(name)
			if words != nil {
				victim = p.victim(words...)
			}
			kill9(t, victim)
			if got := p.must("wait", name); got != "137\n" {
				t.Errorf("wait printed %q", got)
			}
			p.nothingRuns()
			p.must("start", name)
			if got := p.must("exec", name, "echo", "back"); got != "back\n" {
				t.Errorf("after a new start exec printed %q", got)
			}
			p.must("rm", "-f", name)
		})
	}
	t.Run("it outlives who holds the original", func(t *testing.T) {
		p := &person{t, p.desk, p.root, p.env, p.command}
		name := p.forks(p.desk.busybox, "sleep", "1000")
		pid, _ := p.qemu(name)
		kill9(t, parentOf(t, pid))
		if got := p.must("exec", name, "echo", "alive"); got != "alive\n" {
			t.Errorf("exec printed %q", got)
		}
		p.must("rm", "-f", name)
		if got := p.must("run", "--rm", p.desk.busybox, "echo", "cloned"); got != "cloned\n" {
			t.Errorf("the next printed %q", got)
		}
		p.must("system", "template", "prune", "--unused-for", "0s")
		p.nothingRuns()
	})
}

// knows starts containers of an image until the VM that stands by knows as many images.
func (p *person) knows(images int, args ...string) {
	p.t.Helper()
	for range 2 {
		p.must(append([]string{"run", "--rm"}, args...)...)
	}
	deadline := time.Now().Add(patience)
	for !strings.Contains(p.must("system", "template", "ls"), fmt.Sprintf("images known: %d", images)) {
		if time.Now().After(deadline) {
			failure, _ := os.ReadFile(filepath.Join(p.root, "cache/qemu-hypervisor/standby/priming.log"))
			p.t.Fatalf("it does not know %d images: %s", images, failure)
		}
		time.Sleep(50 * time.Millisecond) // nobody tells
	}
}

// having are the QEMUs that stand by and have a file open whose name ends so.
func (p *person) having(suffix string) (pids []int) {
	for pid, line := range p.processes() {
		if !standsBy(line) {
			continue
		}
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // it may have ended
		if slices.ContainsFunc(files, func(file string) bool {
			name, _ := os.Readlink(file)
			return strings.HasSuffix(name, suffix)
		}) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestE2EForksKnowTheirImage has VMs of two images forked from copies that know these, and looks for what the one leaves for the next, or for another's.
func TestE2EForksKnowTheirImage(t *testing.T) {
	p, begun := alone(t), time.Now()
	p.standing(p.desk.busybox)
	probe := p.desk.probeImage(t)
	p.knows(1, p.desk.busybox, "true")
	p.knows(2, probe, "true")
	look := []string{"sh", "-c", "ls -lAnR /bin; sha256sum /bin/busybox /etc/passwd"}
	want := p.must(append([]string{"run", "--rm", "--hypervisor-opt", "templates=off", p.desk.busybox}, look...)...)
	t.Run("each has its own image, and its own layer", func(t *testing.T) {
		p := &person{t, p.desk, p.root, p.env, p.command}
		for range 2 {
			name := p.forks(p.desk.busybox, "sleep", "1000")
			if got := p.must(append([]string{"exec", name}, look...)...); got != want {
				t.Errorf("in a fork there is %s\nin a VM that was booted %s", got, want)
			}
			if got := p.must("exec", name, "sh", "-c", "ls /bin/new; echo new > /bin/new; rm /bin/true; cat /bin/new 2>&1"); got != "new\n" {
				t.Errorf("it sees %q", got)
			}
			if got := p.must("diff", name); !strings.Contains(got, "A /bin/new") || !strings.Contains(got, "D /bin/true") {
				t.Errorf("diff prints %q", got)
			}
			p.must("restart", "-t", "1", name) // which takes another fork
			if got := p.must("exec", name, "sh", "-c", "cat /bin/new; ls /bin/true || echo gone"); got != "new\ngone\n" {
				t.Errorf("after a restart it sees %q", got)
			}
			p.must("rm", "-f", name)
		}
		if got := p.must("run", "--rm", probe, "true"); got != "" {
			t.Errorf("the other image prints %q", got)
		}
	})
	t.Run("its layer is mounted already, and is a disk as any", func(t *testing.T) {
		p := &person{t, p.desk, p.root, p.env, p.command}
		mounted := func(options ...string) bool {
			return strings.Contains(p.must(slices.Concat([]string{"run", "--rm"}, options, []string{p.desk.busybox, "grep", "upperdir=", "/proc/self/mountinfo"})...), "/primed/root/")
		}
		if !mounted() || !mounted("--read-only") {
			t.Error("it is mounted for each container anew")
		}
		for _, options := range [][]string{{"--storage-size", "1g"}, {"--userns", "auto"}} {
			if mounted(options...) {
				t.Errorf("with %v it is another, and was mounted before", options)
			}
		}
		name := p.forks(p.desk.busybox, "sleep", "1000")
		p.must("exec", name, "sh", "-c", "for i in $(seq 200); do echo $i > /file$i; done; sync; echo lost > /lost")
		pid, _ := p.qemu(name)
		kill9(t, pid)
		p.must("wait", name)
		p.agrees(p.layer(name))
		p.must("start", name) // on a disk that is not empty any more
		if got := p.must("exec", name, "sh", "-c", "cat /file* | wc -l; grep -c primed/root /proc/self/mountinfo || true"); got != "200\n0\n" {
			t.Errorf("after its VM was killed it has %q", got)
		}
		p.must("stop", "-t", "0", name)
		p.agrees(p.layer(name))
		if got := p.must("diff", name); strings.Count(got, "A /file") != 200 {
			t.Errorf("diff prints %q", got)
		}
		p.must("rm", name)
	})
	t.Run("they have no secret in common", func(t *testing.T) {
		p := &person{t, p.desk, p.root, p.env, p.command}
		p.haveNothingInCommon([]string{probe}, time.Since(begun), false)
	})
	t.Run("an image that is removed is let go", func(t *testing.T) {
		p := &person{t, p.desk, p.root, p.env, p.command}
		p.must("image", "rm", probe)
		deadline := time.Now().Add(patience)
		for !strings.Contains(p.must("system", "template", "ls"), "images known: 1") {
			if time.Now().After(deadline) {
				t.Fatal("it is still known")
			}
			time.Sleep(50 * time.Millisecond) // nobody tells
		}
		for len(p.having(".ext4 (deleted)")) > 0 {
			if time.Now().After(deadline) {
				t.Fatalf("%v still have it", p.having(".ext4 (deleted)"))
			}
			time.Sleep(50 * time.Millisecond) // the same
		}
		p.must("rm", "-f", p.forks(p.desk.busybox, "sleep", "1000"))
	})
	t.Run("one that is killed is done without", func(t *testing.T) {
		p := &person{t, p.desk, p.root, p.env, p.command}
		killed := p.having(".ext4")
		if len(killed) == 0 {
			t.Fatal("no VM that stands by has the image's disk")
		}
		for _, pid := range killed {
			kill9(t, pid)
		}
		for range 3 {
			p.must("rm", "-f", p.forks(p.desk.busybox, "sleep", "1000"))
		}
		if failure, err := os.ReadFile(filepath.Join(p.root, "cache/qemu-hypervisor/standby/failure.log")); err == nil {
			t.Errorf("it is taken for a failure of all: %s", failure)
		}
	})
}

// TestE2EForksHaveTheirOwnDirectories gives VMs that are forked from one different directories of the host.
func TestE2EForksHaveTheirOwnDirectories(t *testing.T) {
	p := alone(t)
	dirs := make([]string, 3)
	for i := range dirs {
		dirs[i] = t.TempDir()
		if err := os.WriteFile(filepath.Join(dirs[i], "name"), []byte(strconv.Itoa(i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	options := func(i int) []string { return []string{"-v", dirs[i] + ":/data", p.desk.busybox} }
	p.standing(options(0)...)
	for i := range dirs {
		name := p.forks(append(options(i), "sleep", "1000")...)
		if got := p.must("exec", name, "sh", "-c", "cat /data/name && ls /data && echo new >/data/made && chown 7:8 /data/made"); got != strconv.Itoa(i)+"name\n" {
			t.Errorf("in directory %d there is %q", i, got)
		}
		p.must("rm", "-f", name)
		if made, err := os.ReadFile(filepath.Join(dirs[i], "made")); err != nil || string(made) != "new\n" {
			t.Errorf("directory %d has %q, %v", i, made, err)
		}
	}
}
