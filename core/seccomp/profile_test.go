package seccomp

import (
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/guest/seccomp"
)

func names(s *specs.LinuxSeccomp) (all []string) {
	for _, r := range s.Syscalls {
		if r.Action == specs.ActAllow {
			all = append(all, r.Names...)
		}
	}
	return all
}

func TestTheDefaultProfileFollowsCapabilitiesAndArchitecture(t *testing.T) {
	p, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name          string
		subject       Subject
		allowed, none string
	}{
		{"by default", Subject{Arch: "amd64", Kernel: "6.1.158"}, "read openat ptrace arch_prctl", "mount bpf clone3 reboot io_uring_setup syslog"},
		{"with CAP_SYS_ADMIN", Subject{Arch: "amd64", Kernel: "6.1.158", Capabilities: []string{"CAP_SYS_ADMIN"}}, "mount bpf clone3 setns", "reboot"},
		{"with CAP_SYS_BOOT", Subject{Arch: "amd64", Kernel: "6.1.158", Capabilities: []string{"CAP_SYS_BOOT"}}, "reboot", "mount"},
		{"on arm64", Subject{Arch: "arm64", Kernel: "6.1"}, "read sync_file_range2", "arch_prctl"},
		{"on an old kernel", Subject{Arch: "amd64", Kernel: "4.4.0"}, "read", "ptrace"},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec, err := p.For(test.subject)
			if err != nil {
				t.Fatal(err)
			}
			all := names(spec)
			for _, name := range strings.Fields(test.allowed) {
				if !slices.Contains(all, name) {
					t.Errorf("%s is missing", name)
				}
			}
			for _, name := range strings.Fields(test.none) {
				if slices.Contains(all, name) {
					t.Errorf("%s is allowed", name)
				}
			}
			f, err := seccomp.Compile(spec, test.subject.Arch)
			const most = 512 // the kernel goes through it at each start
			if err != nil || len(f.Program) > most {
				t.Errorf("%d instructions, %v", len(f.Program), err)
			}
		})
	}
}

func TestProfilesThatCannotBeEnforcedAreRefused(t *testing.T) {
	for _, test := range []struct{ name, profile, want string }{
		{"not JSON", `x`, "invalid character"},
		{"nothing", ``, "EOF"},
		{"two", `{"defaultAction":"SCMP_ACT_ALLOW"}{}`, "something follows"},
		{"no default", `{}`, "action"},
		{"a field that nobody knows", `{"defaultAction":"SCMP_ACT_ALLOW","magic":1}`, "magic"},
		{"asking another program", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}`, "SCMP_ACT_NOTIFY"},
		{"tracing, in a rule for others", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_TRACE","includes":{"arches":["mips"]}}]}`, "SCMP_ACT_TRACE"},
		{"a listener", `{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}`, "listenerPath"},
		{"a flag", `{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}`, "WAIT_KILLABLE"},
		{"an operator", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_ODD"}]}]}`, "SCMP_CMP_ODD"},
		{"a seventh argument", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}`, "argument 6"},
		{"denying a call that does not exist", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdri"],"action":"SCMP_ACT_ERRNO"}]}`, "mkdri"},
		{"a kernel", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","includes":{"minKernel":"new"}}]}`, `"new"`},
		{"a rule without names", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ERRNO"}]}`, "no names"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Parse([]byte(test.profile)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := Parse([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"mkdir","action":"SCMP_ACT_ERRNO"},{"names":["stat64"],"action":"SCMP_ACT_KILL"}]}`)); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func TestTheDefaultProfileIsAProfileAsUsersGiveThem(t *testing.T) {
	if _, err := Parse(defaultProfile); err != nil {
		t.Error(err)
	}
}

func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		p, err := Default()
		if err != nil {
			b.Fatal(err)
		}
		spec, err := p.For(Subject{Arch: "amd64", Kernel: "6.1"})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := seccomp.Compile(spec, "amd64"); err != nil {
			b.Fatal(err)
		}
	}
}
