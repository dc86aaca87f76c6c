package command

import (
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/health"
	"github.com/vzctl/vzctl/core/runtimespec"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
)

func TestWordsOfCreateBecomeARequest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("# comment\n\nFROM=file\n  HOME\nUNSET\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	profile := filepath.Join(t.TempDir(), "profile")
	if err := os.WriteFile(profile, []byte("rules"), 0o600); err != nil {
		t.Fatal(err)
	}
	score := -5
	everybody, five, six := uint32(0o666), uint32(5), uint32(6)
	for _, test := range []struct {
		name string
		line string
		want engine.CreateRequest
	}{
		{"isolation", "--cap-add A --cap-add B --cap-drop ALL --security-opt no-new-privileges --ulimit nofile=1:2 --sysctl net.a=b --group-add 7 --oom-score-adj -5 " +
			"--shm-size 1m --tmpfs /run:size=1m,exec --pids-limit 9 --cpu-shares 3 --memory-swap -1 --init i",
			engine.CreateRequest{Image: "i", Init: true, Isolation: runtimespec.Isolation{CapAdd: []string{"A", "B"}, CapDrop: []string{"ALL"}, NoNewPrivileges: true,
				Ulimits: []string{"nofile=1:2"}, Sysctls: map[string]string{"net.a": "b"}, Groups: []string{"7"}, OOMScoreAdj: &score, ShmBytes: 1 << 20,
				Tmpfs: []string{"/run:size=1m,exec"}, PidsLimit: 9, CPUShares: 3, MemorySwap: -1}}},
		{"privileged", "--privileged i", engine.CreateRequest{Image: "i", Isolation: runtimespec.Isolation{Privileged: true}}},
		{"a profile of system calls", "--security-opt seccomp=" + profile + " i", engine.CreateRequest{Image: "i", SeccompProfile: []byte("rules")}},
		{"no profile, which came last", "--security-opt seccomp=" + profile + " --security-opt seccomp=unconfined i", engine.CreateRequest{Image: "i", SeccompUnconfined: true}},
		{"new privileges all the same", "--security-opt no-new-privileges=false i", engine.CreateRequest{Image: "i"}},
		{"names", "--add-host db:10.0.0.1 --add-host six:[::1] --dns 9.9.9.9 --dns-search a.b --dns-option ndots:2 i", engine.CreateRequest{Image: "i",
			Names: store.Names{Hosts: []store.Host{{Name: "db", Address: netip.MustParseAddr("10.0.0.1")}, {Name: "six", Address: netip.MustParseAddr("::1")}},
				DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")}, DNSSearch: []string{"a.b"}, DNSOptions: []string{"ndots:2"}}}},
		{"a health check", "--health-cmd ask --health-interval 5s --health-timeout 2s --health-start-period 1m --health-start-interval 1s --health-retries 4 i",
			engine.CreateRequest{Image: "i", Health: health.Check{Test: []string{"CMD-SHELL", "ask"}, Interval: 5 * time.Second, Timeout: 2 * time.Second,
				StartPeriod: time.Minute, StartInterval: time.Second, Retries: 4}}},
		{"no health check", "--no-healthcheck i", engine.CreateRequest{Image: "i", NoHealthcheck: true}},
		{"a restart policy", "--restart on-failure:3 i", engine.CreateRequest{Image: "i", Restart: "on-failure:3"}},
		{"sockets", "--publish-socket /h/p:/c/p --socket /h/s:/c/s:mode=0666,uid=5,gid=6 --ssh i", engine.CreateRequest{Image: "i", SSH: true, Sockets: []store.Socket{
			{Host: "/h/p", Container: "/c/p", Publish: true}, {Host: "/h/s", Container: "/c/s", Mode: &everybody, UID: &five, GID: &six}}}},
		{"limits of disks", "--device-read-bps 1m --device-write-bps /data:2m --device-read-iops /data:7 --device-write-iops -1 i", engine.CreateRequest{Image: "i", IOLimits: []engine.IOLimit{
			{Kind: engine.IOReadBytes, Path: "/", PerSecond: 1 << 20}, {Kind: engine.IOWriteBytes, Path: "/data", PerSecond: 2 << 20},
			{Kind: engine.IOReadOperations, Path: "/data", PerSecond: 7}, {Kind: engine.IOWriteOperations, Path: "/"}}}},
		{"virtual machines in it", "--nested i", engine.CreateRequest{Image: "i", Nested: true}},
		{"the writable layer", "--storage-opt size=1g --storage-opt journal=writeback i", engine.CreateRequest{Image: "i", StorageBytes: 1 << 30, Journal: "writeback"}},
		{"an image alone leaves all to the image", "busybox", engine.CreateRequest{Image: "busybox"}},
		{"flags behind the image are the command's", "-i busybox sh -c -it --name=x", engine.CreateRequest{Image: "busybox", StdinOpen: true,
			Command: []string{"sh", "-c", "-it", "--name=x"}}},
		{"-- of the command stays", "busybox -- true", engine.CreateRequest{Image: "busybox", Command: []string{"--", "true"}}},
		{"joined short flags", "-it busybox", engine.CreateRequest{Image: "busybox", StdinOpen: true, Terminal: true}},
		{"an image called help is an image", "help", engine.CreateRequest{Image: "help"}},
		{"an image called h is an image", "h sh", engine.CreateRequest{Image: "h", Command: []string{"sh"}}},
		{"a path of an OCI layout stays as it is", "--image-source oci-layout ./dir:tag true", engine.CreateRequest{Image: "./dir:tag", Command: []string{"true"},
			Plugins: map[sdk.Kind]string{sdk.ImageSource: "oci-layout"}}},
		{"names and places", "--name n --hostname h -w /w -u 1:2 --network none --kernel k --platform linux/arm64 --pull never --read-only --rm i",
			engine.CreateRequest{Image: "i", Name: "n", Hostname: "h", WorkingDir: "/w", User: "1:2", Network: "none", Kernel: "k", Platform: "linux/arm64",
				Pull: engine.PullNever, ReadOnly: true, AutoRemove: true}},
		{"a bounded log, of which the last word counts", "--log-opt max-size=1m --log-opt max-file=3 --log-opt max-size=2m i", engine.CreateRequest{Image: "i",
			Log: store.LogLimits{MaxBytes: 2 << 20, MaxFiles: 3}}},
		{"a log without bound", "--log-opt max-size=-1 i", engine.CreateRequest{Image: "i", Log: store.LogLimits{MaxBytes: math.MaxInt64}}},
		{"an entry point", "--entrypoint /bin/sh i -c x", engine.CreateRequest{Image: "i", Entrypoint: []string{"/bin/sh"}, Command: []string{"-c", "x"}}},
		{"an empty entry point clears it", "--entrypoint= i x", engine.CreateRequest{Image: "i", Entrypoint: []string{}, Command: []string{"x"}}},
		{"environment: values with commas, our own values, and none for what we lack", "-e A=1,2 --env HOME -eEMPTY -e UNSET -e B= i",
			engine.CreateRequest{Image: "i", Env: []string{"A=1,2", "HOME=/home/me", "EMPTY=", "B="}}},
		{"environment from a file comes first", "-e A=1 --env-file " + file + " i", engine.CreateRequest{Image: "i", Env: []string{"FROM=file", "HOME=/home/me", "A=1"}}},
		{"part of a CPU", "--cpus 1.5 i", engine.CreateRequest{Image: "i", CPUs: 2, Isolation: runtimespec.Isolation{CPUThousandths: 1500}}},
		{"size", "--cpus 2 -m 512m i", engine.CreateRequest{Image: "i", CPUs: 2, MemoryBytes: 512 << 20}},
		{"labels", "--label a=b=c -l d i", engine.CreateRequest{Image: "i", Labels: map[string]string{"a": "b=c", "d": ""}}},
		{"plugins and their options", "--hypervisor /p/hv --hypervisor-opt accelerator=tcg --plugin network=n i", engine.CreateRequest{Image: "i",
			Plugins:           map[sdk.Kind]string{sdk.Hypervisor: "/p/hv", sdk.Network: "n"},
			HypervisorOptions: map[string]string{"accelerator": "tcg"}}},
	} {
		if test.want.Pull == "" {
			test.want.Pull = engine.PullMissing
		}
		for _, verb := range []string{"create", "run"} {
			t.Run(test.name+" ("+verb+")", func(t *testing.T) {
				if test.want.Terminal && verb == "run" {
					return // needs a terminal; see the tests with one
				}
				f := &fake{}
				d := newDesk(f)
				code := d.run(t, append([]string{verb}, strings.Fields(test.line)...)...)
				want := test.want
				want.StartNext = verb == "run"
				if code != 0 || !reflect.DeepEqual(f.createRequest, want) {
					t.Errorf("exit code %d %s\ngot  %+v\nwant %+v", code, d.stderr.String(), f.createRequest, want)
				}
			})
		}
	}
}

func TestWordsThatCannotBeMeantAreRefusedBeforeAnythingHappens(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"run", `run: an image is missing; see "vzctl run --help"`},
		{"run --nope i", `unknown flag "--nope"; see "vzctl run --help"`},
		{"run --name", `flag "--name" needs a value; see "vzctl run --help"`},
		{"run --pull sometimes i", `--pull "sometimes": use missing, always or never`},
		{"run -m much i", `--memory "much": use a size like 512m or 1g`},
		{"run --cpus 0.001 i", `--cpus "0.001": use a number from 0.01`},
		{"run --cpus NaN i", `--cpus "NaN": use a number from 0.01`},
		{"run --cpus 0 i", `--cpus "0": use a number from 0.01`},
		{"run --label =x i", `--label "=x": write KEY=VALUE`},
		{"run --security-opt apparmor=x i", `--security-opt "apparmor=x": use no-new-privileges, seccomp=FILE or seccomp=unconfined`},
		{"run --security-opt seccomp=/nowhere i", `--security-opt seccomp: stat /nowhere: no such file or directory`},
		{"run --sysctl x i", `--sysctl "x": write KEY=VALUE`},
		{"run --shm-size much i", `--shm-size "much": use a size like 512m or 1g`},
		{"run --memory-swap much i", `--memory-swap "much": use a size like 512m or 1g`},
		{"run --add-host db i", `--add-host "db": write NAME:IP`},
		{"run --add-host a#b:10.0.0.1 i", `--add-host "a#b:10.0.0.1": write NAME:IP`},
		{"run --dns here i", `--dns "here": it is not an IP address`},
		{"run --dns-search a#b i", `--dns-search "a#b": it cannot be part of resolv.conf`},
		{"run --socket /s i", `--socket "/s": write HOST:CONTAINER or HOST:CONTAINER:OPTION,OPTION`},
		{"run --publish-socket /s:/t:owner=me i", `--publish-socket "/s:/t:owner=me": option "owner=me": there are mode, uid and gid`},
		{"run --socket /s:/t:mode=rw i", `--socket "/s:/t:mode=rw": option "mode=rw": use a number`},
		{"inspect --oci a b", `inspect: "b" is too much; see "vzctl inspect --help"`},
		{"run --hypervisor-opt x i", `--hypervisor-opt "x": write KEY=VALUE`},
		{"run --plugin printer=x i", `--plugin "printer": no such kind; use one of [hypervisor image-source rootfs-builder network kernel-provider translator]`},
		{"run -e =x i", `environment "=x": a name is missing`},
		{"run --env-file /nowhere i", `--env-file: open /nowhere: no such file or directory`},
		{"run -it i", `connect the terminal: stdin is not a terminal; leave out -t`},
		{"run --rm=maybe i", `invalid boolean value "maybe" for -rm: parse error`},
		{"exec c", `exec: a command is missing; see "vzctl exec --help"`},
		{"stop", `stop: a container is missing; see "vzctl stop --help"`},
		{"checkpoint", `checkpoint: a container is missing; see "vzctl checkpoint --help"`},
		{"checkpoint --remove --force c", `checkpoint: --remove goes with no other flag`},
		{"restore", `restore: a container is missing; see "vzctl restore --help"`},
		{"restore a b", `restore: "b" is too much; see "vzctl restore --help"`},
		{"stop -t -1 c", `--time -1: use seconds from 0`},
		{"logs --tail some c", `--tail "some": use a number of lines, or all`},
		{"logs --since yesterday c", `--since "yesterday": use a time like 2006-01-02T15:04:05Z, seconds since 1970, or how long ago, like 10m`},
		{"logs --until 1.2.3 c", `--until "1.2.3": use a time like 2006-01-02T15:04:05Z, seconds since 1970, or how long ago, like 10m`},
		{"run --log-opt size=1m i", `--log-opt "size=1m": use max-size=SIZE or max-file=NUMBER`},
		{"run --log-opt max-size i", `--log-opt max-size "": use a size like 20m, or -1`},
		{"run --log-opt max-file=0 i", `--log-opt max-file "0": use a number from 1`},
		{"logs a b", `logs: "b" is too much; see "vzctl logs --help"`},
		{"ls c", `ls: "c" is too much; see "vzctl ls --help"`},
		{"ls --format xml", `--format "xml": use table or json`},
		{"start -a a b", `start: "b" is too much; see "vzctl start --help"`},
		{"rootfs build i", `rootfs build: -o FILE is missing`},
		{"nope", `no command "nope"; see "vzctl --help"`},
		{"image nope", `no command "nope"; see "vzctl image --help"`},
		{"--log-format xml ls", `--log-format "xml": use text or json`},
		{"completion csh", `completion: no script for "csh"; use bash, zsh or fish`},
	} {
		t.Run(test.line, func(t *testing.T) {
			f := &fake{}
			d := newDesk(f)
			code := d.run(t, strings.Fields(test.line)...)
			d.wants(t, code, 125, "", "vzctl: "+test.want+"\n")
			if calls := f.noted(); calls != "" {
				t.Errorf("the engine was asked: %s", calls)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]uint64{
		"": 0, "1": 1, "512m": 512 << 20, "512M": 512 << 20, "1g": 1 << 30, "1.5g": 3 << 29, "64MiB": 64 << 20, "2kb": 2048, "7b": 7, "1t": 1 << 40,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "m", "-1m", "1x", "1mm", "1e3", "nan", "inf", "0x10", "1 g", "99999999t", "1ib"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is %d; want a refusal", text, got)
		}
	}
}

func TestExecWords(t *testing.T) {
	f := &fake{}
	d := newDesk(f)
	code := d.run(t, "exec", "-i", "-e", "A=1", "-w", "/w", "-u", "me", "c", "ls", "-l", "-i")
	d.wants(t, code, 0, "", "")
	want := engine.ExecRequest{Args: []string{"ls", "-l", "-i"}, Env: []string{"A=1"}, WorkingDir: "/w", User: "me"}
	if !reflect.DeepEqual(f.execRequest, want) {
		t.Errorf("got %+v; want %+v", f.execRequest, want)
	}
}

func TestSpaceAroundAValueIsPartOfIt(t *testing.T) {
	f := &fake{}
	d := newDesk(f)
	code := d.run(t, "run", "-e", "PS1=$ ", "-e", "A= b ", "--label", "l= m ", "i", " x ")
	d.wants(t, code, 0, "", "")
	if want := (engine.CreateRequest{Image: "i", Env: []string{"PS1=$ ", "A= b "}, Labels: map[string]string{"l": " m "}, Command: []string{" x "}, Pull: engine.PullMissing, StartNext: true}); !reflect.DeepEqual(f.createRequest, want) {
		t.Errorf("got %+v; want %+v", f.createRequest, want)
	}
}

func TestStopWords(t *testing.T) {
	ten, none := 10*time.Second, time.Duration(0)
	for line, want := range map[string]engine.StopOptions{
		"stop c":               {},
		"stop -t 10 c":         {Timeout: &ten},
		"stop c --time=0":      {Timeout: &none},
		"stop -s SIGINT -t0 c": {Signal: "SIGINT", Timeout: &none},
	} {
		f := &fake{}
		if code := newDesk(f).run(t, strings.Fields(line)...); code != 0 || !reflect.DeepEqual(f.stopOptions, want) {
			t.Errorf("%s: exit code %d, %+v; want %+v", line, code, f.stopOptions, want)
		}
	}
}

func TestLogsWords(t *testing.T) {
	for line, want := range map[string]engine.LogOptions{
		"logs c":             {Tail: -1},
		"logs c -f --tail 5": {Tail: 5, Follow: true},
		"logs -n0 --boot c":  {Boot: true},
		"logs --tail all c":  {Tail: -1},
		"logs -t --since 10m --until 2026-05-04T11:59:00.5Z c":        {Tail: -1, Timestamps: true, Since: now.Add(-10 * time.Minute), Until: now.Add(-time.Minute + 500*time.Millisecond)},
		"logs --since 2026-05-04T11:00:00 c":                          {Tail: -1, Since: now.Add(-time.Hour)},
		"logs --since 2026-05-04T14:00:00+02:00 --until 2026-05-05 c": {Tail: -1, Since: now, Until: now.Add(12 * time.Hour)},
		"logs --since 1777896000 --until 1777896000.25 c":             {Tail: -1, Since: now, Until: now.Add(250 * time.Millisecond)},
	} {
		f := &fake{}
		if code := newDesk(f).run(t, strings.Fields(line)...); code != 0 || !sameLogOptions(f.logOptions, want) {
			t.Errorf("%s: exit code %d, %+v; want %+v", line, code, f.logOptions, want)
		}
	}
}

func sameLogOptions(a, b engine.LogOptions) bool {
	same := a.Since.Equal(b.Since) && a.Until.Equal(b.Until)
	a.Since, a.Until = b.Since, b.Until
	return same && a == b
}

func FuzzSizes(f *testing.F) {
	f.Add("1.5g")
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := parseSize(text); err == nil && (n == 0) != (text == "") {
			t.Errorf("%q is %d", text, n)
		}
		if n, _, err := parseCPUs(text); err == nil && (n == 0) != (text == "") {
			t.Errorf("%q is %d CPUs", text, n)
		}
	})
}

func TestWarmTakesTheShapeOfItsContainers(t *testing.T) {
	f := &fake{}
	d := newDesk(f)
	code := d.run(t, "system", "template", "warm", "--cpus", "2", "-m", "1g", "--network", "none", "--kernel", "k", "--hypervisor", "hv", "--hypervisor-opt", "accelerator=tcg")
	d.wants(t, code, 0, "0123456789abcdef\n", "")
	r := f.createRequest
	if r.CPUs != 2 || r.MemoryBytes != 1<<30 || r.Network != "none" || r.Kernel != "k" || r.Plugins[sdk.Hypervisor] != "hv" || r.HypervisorOptions["accelerator"] != "tcg" || r.Image != "" {
		t.Errorf("asked for %+v", r)
	}
	code = newDesk(f).run(t, "system", "template", "warm", "busybox")
	if code != 125 {
		t.Errorf("with an image: exit code %d", code)
	}
}
