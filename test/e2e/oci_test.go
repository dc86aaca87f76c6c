package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestE2ETheGuestEnforcesWhatTheRuntimeSpecSays is like the validation of OCI's runtime tools: what a container's first process has, seen from inside, is compared with
// what inspect --oci prints. oci_mounts_test.go compares mounts and paths.
func TestE2ETheGuestEnforcesWhatTheRuntimeSpecSays(t *testing.T) {
	for _, test := range []struct {
		name  string
		flags []string
	}{
		{"by default", nil},
		{"with all that can be asked for", []string{"--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "setuid", "--security-opt", "no-new-privileges",
			"--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "stack=1048576:2097152", "--sysctl", "net.core.somaxconn=4096",
			"--sysctl", "kernel.shm_rmid_forced=1", "--sysctl", "net/ipv4/ip_forward=1", "--shm-size", "3m", "--tmpfs", "/scratch/deep:size=64k,mode=751,exec",
			"--tmpfs", "/scratch", "--read-only", "--pids-limit", "60", "--cpu-shares", "2048", "--memory-swap", "-1", "--oom-score-adj", "300", "--hostname", "box",
			"-w", "/tmp", "-e", "ODD= a=b ", "-u", "1000:2000", "--group-add", "77"}},
		{"privileged", []string{"--privileged", "-w", "/made"}},
		{"in a user namespace", []string{"--uidmap", "0:100000:65536", "--gidmap", "0:200000:1000", "--gidmap", "1000:300000:5000", "-u", "1000:2000", "--group-add", "77", "--sysctl", "kernel.msgmax=4321",
			"--ulimit", "nofile=100:200", "--shm-size", "3m", "--cap-drop", "CHOWN"}},
		{"without a filter", []string{"--security-opt", "seccomp=unconfined", "--cap-add", "ALL", "--cap-drop", "SYS_BOOT"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := me(t)
			name := p.name()
			p.must(slices.Concat([]string{"run", "-d", "--name", name}, test.flags, []string{p.desk.busybox, "sh", "-c", "sleep 1000; true", "", "ö\n"})...)
			v := validation{p: p}
			if err := json.Unmarshal([]byte(p.must("inspect", "--oci", name)), &v.spec); err != nil {
				t.Fatal(err)
			}
			v.look(name)
			for _, check := range []struct {
				name string
				of   func(*testing.T, *validation)
			}{
				{"process", checkProcess}, {"user", checkUser}, {"capabilities", checkCapabilities}, {"limits", checkLimits}, {"system calls", checkSeccomp},
				{"namespaces", checkNamespaces}, {"cgroup", checkCgroup}, {"kernel settings", checkSysctls}, {"devices", checkDevices},
				{"mounts", checkMounts}, {"paths", checkPaths},
			} {
				t.Run(check.name, func(t *testing.T) { check.of(t, &v) })
			}
			p.must("rm", "-f", name)
		})
	}
}

// validation is what is compared: a spec, and facts by name.
type validation struct {
	p     *person
	spec  specs.Spec
	facts map[string]string
}

// look has the container tell of itself: "@NAME" before each fact.
func (v *validation) look(name string) {
	v.p.t.Helper()
	script := `fact() { echo "@$1"; }
		for f in status limits mountinfo cgroup oom_score_adj; do fact $f; cat /proc/1/$f; done
		for f in environ cmdline; do fact $f; base64 -w 0 /proc/1/$f; echo; done
		fact cwd; readlink /proc/1/cwd
		fact hostname; hostname
		fact ns; for n in pid mnt ipc uts cgroup user time; do echo $n $(readlink /proc/1/ns/$n); done
		cd /sys/fs/cgroup; for f in memory.max memory.swap.max pids.max cpu.max cpu.weight; do fact $f; cat $f; done; cd /
		fact dev; for d in null zero full random urandom tty ptmx; do stat -c "$d %F %t:%T %a" /dev/$d; done
		fact devlinks; for l in fd stdin stdout stderr ptmx; do echo $l $(readlink /dev/$l); done
		fact open; for d in null zero full urandom; do head -c 0 /dev/$d && echo $d; done
		fact disk; mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk | wc -c
	`
	for _, path := range slices.Concat(v.spec.Linux.MaskedPaths, v.spec.Linux.ReadonlyPaths) {
		script += fmt.Sprintf("fact %[1]s; if [ -d %[1]s ]; then ls -A %[1]s | wc -l; elif [ -e %[1]s ]; then wc -c <%[1]s; fi\n", path)
	}
	for _, m := range v.spec.Mounts {
		script += fmt.Sprintf("fact mode:%[1]s; stat -c %%a %[1]s\n", m.Destination)
	}
	for key := range v.spec.Linux.Sysctl {
		script += fmt.Sprintf("fact %s; cat /proc/sys/%s\n", key, strings.ReplaceAll(key, ".", "/"))
	}
	v.facts = map[string]string{}
	fact := ""
	for line := range strings.Lines(v.p.must("exec", name, "sh", "-c", "{ "+script+"} 2>/dev/null; true")) {
		if next, ok := strings.CutPrefix(line, "@"); ok {
			fact = strings.TrimSpace(next)
			continue
		}
		v.facts[fact] += line
	}
}

// fact is a fact of one line.
func (v *validation) fact(name string) string { return strings.TrimSuffix(v.facts[name], "\n") }

// status is a field of /proc/1/status.
func (v *validation) status(field string) string {
	for line := range strings.Lines(v.facts["status"]) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// same reports what differs.
func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, the spec says %v", what, got, want)
	}
}

func checkProcess(t *testing.T, v *validation) {
	list := func(fact string) []string {
		text, err := base64.StdEncoding.DecodeString(v.fact(fact))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	}
	want := v.spec.Process
	if got := list("cmdline"); !slices.Equal(got, want.Args) {
		t.Errorf("arguments %q, the spec says %q", got, want.Args)
	}
	// HOME is the guest's to add: it is in the container's passwd.
	env := slices.DeleteFunc(list("environ"), func(entry string) bool { return strings.HasPrefix(entry, "HOME=") })
	if !slices.Equal(env, want.Env) {
		t.Errorf("environment %q, the spec says %q", env, want.Env)
	}
	same(t, "working directory", v.fact("cwd"), want.Cwd)
	same(t, "host name", v.fact("hostname"), v.spec.Hostname)
	same(t, "no new privileges", v.status("NoNewPrivs") == "1", want.NoNewPrivileges)
	score := 0
	if want.OOMScoreAdj != nil {
		score = *want.OOMScoreAdj
	}
	same(t, "OOM score adjustment", v.fact("oom_score_adj"), strconv.Itoa(score))
	same(t, "umask", v.status("Umask"), "0022")
}

func checkUser(t *testing.T, v *validation) {
	u := v.spec.Process.User
	same(t, "user", v.status("Uid"), strings.TrimSuffix(strings.Repeat(fmt.Sprint(u.UID)+"\t", 4), "\t"))
	same(t, "group", v.status("Gid"), strings.TrimSuffix(strings.Repeat(fmt.Sprint(u.GID)+"\t", 4), "\t"))
	groups := strings.Fields(v.status("Groups"))
	for _, gid := range u.AdditionalGids {
		if !slices.Contains(groups, fmt.Sprint(gid)) {
			t.Errorf("groups %v, the spec says %d too", groups, gid)
		}
	}
	if len(groups) > len(u.AdditionalGids)+1 { // its own one is there, too
		t.Errorf("groups %v, the spec says %v", groups, u.AdditionalGids)
	}
}

func checkCapabilities(t *testing.T, v *validation) {
	numbers := map[string]uint{}
	for _, c := range capability.ListKnown() {
		numbers["CAP_"+strings.ToUpper(c.String())] = uint(c)
	}
	c := v.spec.Process.Capabilities
	permitted, effective := c.Permitted, c.Effective
	if v.spec.Process.User.UID != 0 { // a program without capabilities of its own loses them, but for the ambient ones
		permitted, effective = c.Ambient, c.Ambient
	}
	for field, names := range map[string][]string{"CapBnd": c.Bounding, "CapPrm": permitted, "CapEff": effective, "CapInh": c.Inheritable, "CapAmb": c.Ambient} {
		set := uint64(0)
		for _, name := range names {
			number, known := numbers[name]
			if !known {
				t.Fatalf("capability %s", name)
			}
			set |= 1 << number
		}
		same(t, field, v.status(field), fmt.Sprintf("%016x", set))
	}
}

func checkLimits(t *testing.T, v *validation) {
	limits := map[string][2]uint64{"RLIMIT_NOFILE": {1024, 524288}} // where the spec is silent
	for _, l := range v.spec.Process.Rlimits {
		limits[l.Type] = [2]uint64{l.Soft, l.Hard}
	}
	for kind, want := range limits {
		shown := ""
		for _, u := range ulimits {
			if kind == "RLIMIT_"+strings.ToUpper(u.flag) {
				shown = u.shown
			}
		}
		_, rest, _ := strings.Cut(v.facts["limits"], shown+" ")
		if values := strings.Fields(rest); len(values) < 2 || values[0] != fmt.Sprint(want[0]) || values[1] != fmt.Sprint(want[1]) {
			t.Errorf("%s: %.2q, the spec says %d", kind, values, want)
		}
	}
}

func checkSeccomp(t *testing.T, v *validation) {
	same(t, "mode", v.status("Seccomp"), "2")
	// vminitd's own, always, and the spec's are one, if that answers nothing but errors. What they deny other tests try.
	same(t, "filters", v.status("Seccomp_filters"), "1")
}

func checkNamespaces(t *testing.T, v *validation) {
	// Linux gives the machine's own namespaces these numbers.
	machines := map[string]string{"ipc": "4026531839", "uts": "4026531838", "user": "4026531837", "pid": "4026531836", "cgroup": "4026531835", "time": "4026531834"}
	names := map[specs.LinuxNamespaceType]string{specs.MountNamespace: "mnt"}
	own := map[string]bool{}
	for _, n := range v.spec.Linux.Namespaces {
		name := names[n.Type]
		if name == "" {
			name = string(n.Type)
		}
		own[name] = true
	}
	for line := range strings.Lines(v.facts["ns"]) {
		name, link, _ := strings.Cut(strings.TrimSpace(line), " ")
		if number := strings.Trim(strings.TrimPrefix(link, name+":"), "[]"); machines[name] != "" {
			same(t, name+" namespace of its own", number != machines[name], own[name])
		}
	}
	same(t, "pid namespace", v.status("NSpid"), "1")
	same(t, "mount namespace", own["mnt"], true) // checkMounts sees that nothing of the machine's is in it
	same(t, "cgroup namespace", v.fact("cgroup"), "0::/")
}

func checkCgroup(t *testing.T, v *validation) {
	want := map[string]string{"memory.max": "max", "memory.swap.max": "max", "pids.max": "max", "cpu.max": "max 100000", "cpu.weight": "100"}
	r := v.spec.Linux.Resources
	if m := r.Memory; m != nil && m.Limit != nil {
		want["memory.max"] = fmt.Sprint(*m.Limit)
		if m.Swap != nil && *m.Swap >= 0 {
			want["memory.swap.max"] = fmt.Sprint(*m.Swap - *m.Limit)
		}
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		want["pids.max"] = fmt.Sprint(*r.Pids.Limit)
	}
	if c := r.CPU; c != nil {
		if c.Quota != nil {
			want["cpu.max"] = fmt.Sprint(*c.Quota, " ", *c.Period)
		}
		if c.Shares != nil {
			want["cpu.weight"] = fmt.Sprint(1 + (*c.Shares-2)*9999/262142)
		}
	}
	for name, value := range want {
		same(t, name, v.fact(name), value)
	}
}

func checkSysctls(t *testing.T, v *validation) {
	for key, want := range v.spec.Linux.Sysctl {
		got := strings.Fields(v.fact(key))
		for i := range got { // the kernel tells a process ids as it has them
			if id, err := strconv.ParseUint(got[i], 10, 32); err == nil && key == "net.ipv4.ping_group_range" {
				got[i] = fmt.Sprint(v.outside("gid", uint32(id)))
			}
		}
		same(t, key, strings.Join(got, " "), want)
	}
}

func checkDevices(t *testing.T, v *validation) {
	for _, line := range []string{"null character special file 1:3 666", "zero character special file 1:5 666", "full character special file 1:7 666",
		"random character special file 1:8 666", "urandom character special file 1:9 666", "tty character special file 5:0 666"} {
		if !strings.Contains(v.facts["dev"], line+"\n") {
			t.Errorf("there is no %s in:\n%s", line, v.facts["dev"])
		}
	}
	same(t, "links", v.facts["devlinks"], "fd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\nptmx pts/ptmx\n")
	same(t, "can be opened", strings.Join(strings.Fields(v.facts["open"]), " "), "null zero full urandom")
	all := slices.ContainsFunc(v.spec.Linux.Resources.Devices, func(d specs.LinuxDeviceCgroup) bool { return d.Allow && d.Type == "a" })
	same(t, "a disk of the machine can be read", v.fact("disk") == "1", all)
}

// mount is a line of mountinfo, with the options of the mount and of its file system.
type mount struct {
	kind           string
	options, super []string
}

func (v *validation) mounts(t *testing.T) map[string]mount {
	t.Helper()
	found := map[string]mount{}
	for line := range strings.Lines(v.facts["mountinfo"]) {
		of, system, ok := strings.Cut(strings.TrimSpace(line), " - ")
		fields, systemFields := strings.Fields(of), strings.Fields(system)
		if !ok || len(fields) < 6 || len(systemFields) < 3 {
			t.Fatalf("mountinfo has %q", line)
		}
		found[fields[4]] = mount{systemFields[0], strings.Split(fields[5], ","), strings.Split(systemFields[2], ",")}
	}
	if len(found) == 0 {
		t.Fatal("there are no mounts")
	}
	return found
}

// sorted are the keys of a map.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
