package rehearsal

import (
	"crypto/rand"
	_ "embed" // the spec
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/timestamppb"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/seccomp"
)

// spec is what the core makes for a container without options; a test of package test/guest says so. It runs programTrue.
//
//go:embed spec.json
var spec []byte

const (
	hostname     = "rehearsal"
	entropyBytes = 64
)

// addresses are those of the machine's card in the rehearsal, of blocks that are nobody's (RFC 5737, RFC 3849).
var addresses = []string{"192.0.2.2/24", "2001:db8::2/64"}

func adoptRequest(m *machine) *guestv1.AdoptRequest {
	entropy := make([]byte, entropyBytes)
	_, _ = rand.Read(entropy) // never fails
	request := &guestv1.AdoptRequest{Entropy: entropy, Hostname: hostname, Time: timestamppb.Now()}
	if mtu, ok := m.cards.MTU(); ok {
		request.Interfaces = []*guestv1.Interface{{Mac: "02:00:00:00:00:01", Mtu: mtu, Addresses: addresses,
			Routes: []*guestv1.Route{{Destination: "0.0.0.0/0", Gateway: "192.0.2.1"}, {Destination: "::/0", Gateway: "2001:db8::1"}}}}
		request.Dns = &guestv1.Dns{Servers: []string{"192.0.2.1", "2001:db8::1"}, Search: []string{"rehearsal"}}
	}
	return request
}

func createRequest(m *machine, program string) (*guestv1.CreateContainerRequest, error) {
	filter, err := seccomp.Compile(profile(), runtime.GOARCH)
	if err != nil {
		return nil, fmt.Errorf("make a system call filter: %w", err)
	}
	text, err := specOf(m, program)
	if err != nil {
		return nil, fmt.Errorf("make a spec: %w", err)
	}
	request := &guestv1.CreateContainerRequest{ContainerId: containerID, Hostname: hostname, OciSpec: text,
		Seccomp: &guestv1.SeccompFilter{Program: seccomp.Encode(filter.Program), Flags: filter.Flags}}
	for _, serial := range m.disks.lower {
		request.Lower = append(request.Lower, &guestv1.Disk{Serial: serial, FileSystem: "ext4"})
	}
	if m.disks.upper != "" {
		request.Upper = &guestv1.Disk{Serial: m.disks.upper, FileSystem: "ext4"}
	}
	for _, tag := range m.shares {
		request.Sources = append(request.Sources, &guestv1.Source{Name: tag, Of: &guestv1.Source_Share{Share: &guestv1.Share{Tag: tag, Type: "9p"}}})
	}
	for _, serial := range m.disks.volumes {
		request.Sources = append(request.Sources, &guestv1.Source{Name: serial, Of: &guestv1.Source_Volume{Volume: &guestv1.Volume{
			Disk: &guestv1.Disk{Serial: serial, FileSystem: "ext4"}, CopyFrom: "/root"}}})
	}
	return request, nil
}

// specOf mounts the machine's shares and volumes, below a directory where the program looks for the first.
func specOf(m *machine, program string) ([]byte, error) {
	var s specs.Spec
	if err := json.Unmarshal(spec, &s); err != nil {
		return nil, err
	}
	s.Process.Args = []string{program}
	for i, name := range slices.Concat(m.shares, m.disks.volumes) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/source" + strconv.Itoa(i), Type: "bind", Source: "sources/" + name, Options: []string{"rbind", "rw"}})
	}
	return json.Marshal(s)
}

// profile has each kind of rule that the default profile of system calls has.
func profile() *specs.LinuxSeccomp {
	denied := uint(1)
	return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &denied, Syscalls: []specs.LinuxSyscall{
		{Names: []string{ // of the programs, of the helper that becomes them, and of the one that stays with --init
			"access", "arch_prctl", "brk", "capget", "capset", "chdir", "chmod", "clock_gettime", "clock_nanosleep", "close", "dup2", "dup3",
			"epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fchdir",
			"fcntl", "fstat", "fsync", "ftruncate", "futex", "getcwd", "getdents64", "getpid", "getppid", "getrandom", "gettid", "ioctl", "kill", "lseek",
			"madvise", "mincore", "mkdir", "mmap", "mprotect", "munmap", "nanosleep", "newfstatat", "openat", "pidfd_open", "pidfd_send_signal", "pipe2",
			"poll", "ppoll", "prctl", "pread64", "prlimit64", "read", "readlink", "readlinkat", "recvmsg", "rename", "rmdir", "rseq", "rt_sigaction",
			"rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_yield", "sendmsg", "set_robust_list", "set_tid_address", "setgid", "setgroups",
			"setresgid", "setresuid", "setsid", "setuid", "sigaltstack", "stat", "statfs", "statx", "symlink", "tgkill", "timer_settime", "uname",
			"unlinkat", "wait4", "waitid", "write"}, Action: specs.ActAllow},
		{Names: []string{"personality"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 0xffffffff, Op: specs.OpEqualTo}}},
		{Names: []string{"socket"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 40, Op: specs.OpNotEqual}}},
		{Names: []string{"clone"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 2114060288, Op: specs.OpMaskedEqual}}},
		{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: new(uint)},
	}}
}
