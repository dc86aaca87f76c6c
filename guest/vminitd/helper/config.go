// Package helper is what a new process runs, vminitd's own program again, until it becomes a process of a container. A helper is needed because much of
// what a process is can only be set by itself, between fork and exec, where Go code cannot run. Package launch makes the process and speaks to it.
//
// It takes over in an init function (main.go), before the packages that serve the host have set themselves up, which would take several times as
// long as all the helper does. Go initializes packages in the order of their import paths, as far as their imports allow; so this package must import
// nothing that leads to google.golang.org or net. A test makes sure of it.
//
// The steps: root.go and mount.go build the root, of which stage.go has made in advance what does not depend on the container, terminal.go and user.go what their names say, privilege.go takes away what the process
// shall not have, find.go finds the program, and supervise.go starts it where the first process is to stay ours.
package helper

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"reflect"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/guest/idmap"
	"github.com/vzctl/vzctl/guest/vminitd/failure"
)

// Name is the zeroth argument of a helper.
const Name = "vzctl-launch"

// Config is what a helper is told.
type Config struct {
	// Rehearsal has the helper read all that follows, stage the mounts, masks and protected paths of Init (stage.go), say MessageReady, and wait for another configuration. What decoding one
	// costs the first time is paid then.
	Rehearsal bool `json:",omitempty"`
	// Init is set for a container's first process, which builds the root. Others join.
	Init    *Init `json:",omitempty"`
	Process *specs.Process
	// User is in place of Process.User unless empty: "name", "uid", "name:group", ...
	User string `json:",omitempty"`
	// Groups are further ones, by name.
	Groups []string `json:",omitempty"`
	// Filters of system calls, the first to be installed first.
	Filters []Filter `json:",omitempty"`
	// Supervised has the first process stay ours, and start that of the spec (supervise.go).
	Supervised bool `json:",omitempty"`
	// IDs are the maps of the container's user namespace, which the helper is born in (hand.go), and one that is to join with it in all others; nil: it has none of its own.
	IDs *idmap.Maps `json:",omitempty"`
}

// Filter of system calls.
type Filter struct {
	// Program is struct sock_filter, one after the other. It follows the configuration as it is: reading it as JSON would take an emulated machine milliseconds.
	Program []byte `json:"-"`
	Size    int    // of Program
	Flags   uint32 // SECCOMP_FILTER_FLAG_*
}

// Encode makes the text of a configuration, and what follows it.
func (c Config) Encode() (text, programs []byte, err error) {
	packed, rest := c.packed()
	text = append(binary.AppendUvarint(nil, uint64(len(packed))), packed...)
	if !reflect.ValueOf(rest).IsZero() {
		left, err := json.Marshal(rest)
		if err != nil {
			return nil, nil, err
		}
		text = append(text, left...)
	}
	for _, f := range c.Filters {
		programs = append(programs, f.Program...)
	}
	return text, programs, nil
}

// readPrograms reads what follows the text.
func (c *Config) readPrograms(from io.Reader) error {
	for i := range c.Filters {
		if c.Filters[i].Size < 0 || c.Filters[i].Size > MaxConfig {
			return io.ErrUnexpectedEOF
		}
		c.Filters[i].Program = make([]byte, c.Filters[i].Size)
		if _, err := io.ReadFull(from, c.Filters[i].Program); err != nil {
			return err
		}
	}
	return nil
}

// Init is how the root is built.
type Init struct {
	Rootfs               string // where the root file system is mounted, in vminitd's eyes
	ReadOnly             bool
	Hostname, Domainname string // set if the container has its own UTS namespace
	Namespaces           int    // CLONE_NEW* flags of those to be made; a pid namespace the helper is born in, and BornNamespaces with a user namespace
	Staged               bool   // begin with what was staged; it is in none of the following
	Mounts               []specs.Mount
	Files                []File
	Devices              []specs.LinuxDevice
	Sysctl               map[string]string
	MaskedPaths          []string
	ReadonlyPaths        []string
	Propagation          string
}

// File is put over a file of the container. Owned says that it becomes the user's.
type File struct {
	Source, Destination string
	Owned               bool `json:",omitempty"`
}

// The messages of a helper: one byte, then what belongs to it.
const (
	MessageReady    = 'R' // after a rehearsal
	MessageTerminal = 'T' // with the descriptor of the terminal's master
	MessageExecute  = 'X' // all is done but execve(2)
	MessageError    = 'E' // a failure, to the end of the stream
)

// MaxConfig bounds a configuration, in bytes; the kernel takes 2 MiB of arguments and environment.
const MaxConfig = 8 << 20

// wire is a failure on its way.
type wire struct {
	Reason                   failure.Reason
	Op, Subject, Cause, Hint string
}

func encodeError(err error) []byte {
	w := wire{Reason: failure.Internal, Op: "start process", Cause: err.Error()}
	if e, ok := errors.AsType[*failure.Error](err); ok {
		w = wire{Reason: e.Reason, Op: e.Op, Subject: e.Subject, Hint: e.Hint}
		if e.Cause != nil {
			w.Cause = e.Cause.Error()
		}
	}
	text, err := json.Marshal(w)
	if err != nil {
		return nil
	}
	return append([]byte{MessageError}, text...)
}

// DecodeError returns the failure that follows MessageError.
func DecodeError(text []byte) error {
	var w wire
	if err := json.Unmarshal(text, &w); err != nil {
		return &failure.Error{Reason: failure.Internal, Op: "start process", Cause: errors.New("the launch helper's error is damaged")}
	}
	return &failure.Error{Reason: w.Reason, Op: w.Op, Subject: w.Subject, Cause: errors.New(w.Cause), Hint: w.Hint}
}
