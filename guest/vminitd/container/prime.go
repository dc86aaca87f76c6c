package container

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vzctl/vzctl/guest/vminitd/cage"
	"github.com/vzctl/vzctl/guest/vminitd/prime"
	"github.com/vzctl/vzctl/guest/vminitd/rootfs"
	"github.com/vzctl/vzctl/sdk/fault"
)

// primed is where disks are mounted that containers to come have, each below its place in the list.
const primed = "/run/vzctl/primed"

// cageTime bounds how long a program is run before there is a container.
const cageTime = 300 * time.Millisecond

// Prime mounts images' disks before there is a container, reads what programs need that are named by paths within them, and runs the first of them in a cage. It returns how many bytes were read.
func (r *Runtime) Prime(ctx context.Context, lower []Disk, programs []string) (read int64, err error) {
	<-r.ready
	if r.readyErr != nil {
		return 0, r.readyErr
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.containers) > 0 || r.primed != nil {
		return 0, &fault.Error{Reason: fault.FailedPrecondition, Op: "prime the machine", Cause: errors.New("it has begun")}
	}
	mounted := map[string]rootfs.Disk{}
	for i, d := range lower {
		device, err := r.disks.Find(ctx, d.Serial)
		if err != nil {
			return read, err
		}
		at := filepath.Join(primed, strconv.Itoa(i))
		if err := os.MkdirAll(at, 0o700); err != nil {
			return read, err
		}
		disk := rootfs.Disk{Device: device, FileSystem: d.FileSystem}
		if err := rootfs.MountImage(disk, at); err != nil {
			return read, err
		}
		read += prime.Read(at, programs, prime.MaxTotal-read)
		disk.Mounted = at
		mounted[d.Serial] = disk
	}
	r.primed = mounted
	if len(lower) != 1 { // none of several is a root
		return read, nil
	}
	root := mounted[lower[0].Serial].Mounted
	if program := prime.First(root, programs); program != "" {
		ctx, cancel := context.WithTimeout(ctx, cageTime)
		defer cancel()
		if err := cage.Run(ctx, r.reaper, root, program); err != nil {
			return read, err
		}
	}
	return read, nil
}

// mountedAlready returns where a container's disk is mounted since the machine was primed; "" if it is not.
func (r *Runtime) mountedAlready(serial string, d rootfs.Disk) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, found := r.primed[serial]; found && known.Device == d.Device && known.FileSystem == d.FileSystem {
		return known.Mounted
	}
	return ""
}
