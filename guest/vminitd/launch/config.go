// Package launch turns a new process into a process of a container. It has two halves that meet over a socket: Start, in vminitd, makes the process with its
// namespaces (start.go); Main is what that process runs, vminitd's own program again, until it executes the container's (main.go). A helper
// is needed because much of what a process is can only be set by itself, between fork and exec, where Go code cannot run.
//
// The helper's steps: root.go and mount.go build the root, terminal.go and user.go what their names say, privilege.go takes away what the process
// shall not have, execute.go finds and executes the program.
package launch

import (
	"encoding/json"
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Name is the first argument of a helper.
const Name = "vzctl-launch"

// Config is what a helper is told.
type Config struct {
	// Init is set for a container's first process, which builds the root. Others join.
	Init    *Init `json:",omitempty"`
	Process *specs.Process
	// User is in place of Process.User unless empty: "name", "uid", "name:group", ...
	User    string              `json:",omitempty"`
	Seccomp *specs.LinuxSeccomp `json:",omitempty"`
}

// Init is how the root is built.
type Init struct {
	Rootfs               string // where the root file system is mounted, in vminitd's eyes
	ReadOnly             bool
	Hostname, Domainname string // set if the container has its own UTS namespace
	CgroupNamespace      bool
	NetworkNamespace     bool
	Mounts               []specs.Mount
	Files                []File
	Devices              []specs.LinuxDevice
	Sysctl               map[string]string
	MaskedPaths          []string
	ReadonlyPaths        []string
	Propagation          string
}

// File is put over a file of the container.
type File struct{ Source, Destination string }

// The messages of a helper: one byte, then what belongs to it.
const (
	messageTerminal = 'T' // with the descriptor of the terminal's master
	messageExecute  = 'X' // all is done but execve(2)
	messageError    = 'E' // a failure, to the end of the stream
)

// failure is an error on its way.
type failure struct {
	Reason                   fault.Reason
	Op, Subject, Cause, Hint string
}

func encodeError(err error) []byte {
	f := failure{Reason: fault.ReasonOf(err), Op: "start process", Cause: err.Error()}
	if e, ok := errors.AsType[*fault.Error](err); ok {
		f = failure{Reason: e.Reason, Op: e.Op, Subject: e.Subject, Hint: e.Hint}
		if e.Cause != nil {
			f.Cause = e.Cause.Error()
		}
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil
	}
	return append([]byte{messageError}, text...)
}

func decodeError(text []byte) error {
	var f failure
	if err := json.Unmarshal(text, &f); err != nil {
		return &fault.Error{Reason: fault.Internal, Op: "start process", Cause: errors.New("the launch helper's error is damaged")}
	}
	return &fault.Error{Reason: f.Reason, Op: f.Op, Subject: f.Subject, Cause: errors.New(f.Cause), Hint: f.Hint}
}
