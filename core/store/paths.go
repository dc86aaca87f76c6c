package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Paths names everything on disk. Ids and names given to it must have been checked.
//
//	<Root>/events.log
//	<Root>/answers/                  what plugins and guests answered, see package answers
//	<Root>/blank/                    empty layers, to be copied
//	<Root>/names/<name>              the id of the container of that name
//	<Root>/store.lock                held while containers come and go
//	<Root>/reserve/                  supervisors that wait, see package reserve
//	<Root>/warm.lock                 held while a template is made ahead
//	<Root>/containers/<id>/          container.json, log, ...
//	<Root>/sandboxes/<id>/           sandbox.json, layer.img, console.log, checkpoint-<hex>/, ...
//	<Root>/volumes/<name>/           volume.json, disk.img, use.lock
//	<Root>/networks/<name>/          of netd
//	<Root>/images/                   OCI layout
//	<Root>/rootfs/                   of rootfs builders
//	<Root>/kernels/                  of kernel providers
//	<Root>/cache/<plugin>/           what hypervisor plugins keep to start faster
//	<Root>/tmp/                      what is being made or being removed, of the store alone
//	<Run>/<16 hex>/                  sockets of one sandbox or network
type Paths struct {
	Root string // all that lasts
	Run  string // all that ends with the host's uptime, in a short path
}

func (p Paths) Events() string             { return filepath.Join(p.Root, "events.log") }
func (p Paths) Answers() string            { return filepath.Join(p.Root, "answers") }
func (p Paths) Blanks() string             { return filepath.Join(p.Root, "blank") }
func (p Paths) Lock() string               { return filepath.Join(p.Root, "store.lock") }
func (p Paths) WarmLock() string           { return filepath.Join(p.Root, "warm.lock") } // held by who makes a template ahead
func (p Paths) Reserve() string            { return filepath.Join(p.Root, "reserve") }
func (p Paths) ReserveLog() string         { return filepath.Join(p.Reserve(), "log") }
func (p Paths) Images() string             { return filepath.Join(p.Root, "images") }
func (p Paths) Rootfs() string             { return filepath.Join(p.Root, "rootfs") }
func (p Paths) Kernels() string            { return filepath.Join(p.Root, "kernels") }
func (p Paths) Cache(plugin string) string { return filepath.Join(p.Root, "cache", plugin) }
func (p Paths) staging() string            { return filepath.Join(p.Root, "tmp") }

func (p Paths) Names() string           { return filepath.Join(p.Root, "names") }
func (p Paths) Name(name string) string { return filepath.Join(p.Names(), name) }

func (p Paths) Containers() string         { return filepath.Join(p.Root, "containers") }
func (p Paths) Container(id string) string { return filepath.Join(p.Containers(), id) }
func (p Paths) ContainerRecord(id string) string {
	return filepath.Join(p.Container(id), containerRecord)
}
func (p Paths) ContainerSpec(id string) string { return filepath.Join(p.Container(id), "config.json") } // OCI runtime spec, without linux.seccomp

// ContainerSeccomp is linux.seccomp of the runtime spec, and ContainerFilter what is made of it (see sandbox.Filter). A container that may make all system calls has neither.
func (p Paths) ContainerSeccomp(id string) string {
	return filepath.Join(p.Container(id), "seccomp.json")
}
func (p Paths) ContainerFilter(id string) string {
	return filepath.Join(p.Container(id), "seccomp.bpf")
}

// ContainerHealth is the health.State of a container that has a check. It is no part of the record, which changes less often.
func (p Paths) ContainerHealth(id string) string {
	return filepath.Join(p.Container(id), "health.json")
}
func (p Paths) ContainerLog(id string) string     { return filepath.Join(p.Container(id), "log") }
func (p Paths) ContainerLock(id string) string    { return filepath.Join(p.Container(id), "lock") }
func (p Paths) containerWriting(id string) string { return filepath.Join(p.Container(id), recordLock) }

func (p Paths) Sandboxes() string              { return filepath.Join(p.Root, "sandboxes") }
func (p Paths) Sandbox(id string) string       { return filepath.Join(p.Sandboxes(), id) }
func (p Paths) SandboxRecord(id string) string { return filepath.Join(p.Sandbox(id), sandboxRecord) }
func (p Paths) SandboxLock(id string) string   { return filepath.Join(p.Sandbox(id), "lock") }
func (p Paths) SandboxLife(id string) string   { return filepath.Join(p.Sandbox(id), "life") } // held by the supervisor
func (p Paths) SandboxLayer(id string) string  { return filepath.Join(p.Sandbox(id), "layer.img") }
func (p Paths) SandboxCheckpoint(id, name string) string {
	return filepath.Join(p.Sandbox(id), name)
}
func (p Paths) SandboxConsole(id string) string { return filepath.Join(p.Sandbox(id), "console.log") }
func (p Paths) SandboxState(id string) string   { return filepath.Join(p.Sandbox(id), "vm") } // of the hypervisor plugin
func (p Paths) SupervisorLog(id string) string  { return filepath.Join(p.Sandbox(id), "supervisor.log") }
func (p Paths) LastWords(id string) string      { return filepath.Join(p.Sandbox(id), "last-words.json") }
func (p Paths) sandboxWriting(id string) string { return filepath.Join(p.Sandbox(id), recordLock) }
func (p Paths) Volumes() string                 { return filepath.Join(p.Root, "volumes") }
func (p Paths) VolumesLock() string             { return filepath.Join(p.Volumes(), ".lock") } // held while volumes come and go
func (p Paths) Volume(name string) string       { return filepath.Join(p.Volumes(), name) }
func (p Paths) VolumeRecord(name string) string { return filepath.Join(p.Volume(name), "volume.json") }
func (p Paths) VolumeDisk(name string) string   { return filepath.Join(p.Volume(name), "disk.img") }
func (p Paths) VolumeUse(name string) string    { return filepath.Join(p.Volume(name), "use.lock") } // held while a machine has the disk
func (p Paths) Networks() string                { return filepath.Join(p.Root, "networks") }
func (p Paths) Network(name string) string      { return filepath.Join(p.Networks(), name) }
func (p Paths) NetworkRecord(name string) string {
	return filepath.Join(p.Network(name), "network.json")
}
func (p Paths) NetworkWhereabouts(name string) string {
	return filepath.Join(p.Network(name), "whereabouts.json") // of a running netd
}
func (p Paths) NetworkLock(name string) string  { return filepath.Join(p.Network(name), "lock") }
func (p Paths) NetworkLife(name string) string  { return filepath.Join(p.Network(name), "life") }  // held by netd
func (p Paths) NetworkState(name string) string { return filepath.Join(p.Network(name), "state") } // of the plugin
func (p Paths) NetworkLog(name string) string   { return filepath.Join(p.Network(name), "netd.log") }
func (p Paths) SandboxRun(id string) string     { return p.run("sandbox", id) }
func (p Paths) NetworkRun(name string) string   { return p.run("network", name) }

const (
	containerRecord = "container.json"
	sandboxRecord   = "sandbox.json"
	recordLock      = "record.lock"

	checkpointPrefix = "checkpoint-"
)

// run is short whatever the root and the id, and differs between roots.
func (p Paths) run(kind, id string) string {
	sum := sha256.Sum256([]byte(p.Root + "\x00" + kind + "\x00" + id))
	return filepath.Join(p.Run, hex.EncodeToString(sum[:8]))
}

// MaxSocketName is how long the name of a socket in a runtime directory may be, subdirectories included.
const MaxSocketName = 40

// maxSocketPath is what a socket address holds, without the final zero byte.
func maxSocketPath(os string) int {
	if os == "darwin" {
		return 103
	}
	return 107
}

// CheckSocket refuses the path of a socket that no socket address can hold.
func CheckSocket(path string) error {
	if limit := maxSocketPath(runtime.GOOS); len(path) > limit {
		return &fault.Error{Reason: fault.Invalid, Op: "make socket", Subject: path,
			Cause: fmt.Errorf("the path has %d bytes, sockets take %d", len(path), limit),
			Hint:  "set XDG_RUNTIME_DIR to a shorter directory"}
	}
	return nil
}
