package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/vzctl/vzctl/guest/vminitd/boot"
	"github.com/vzctl/vzctl/guest/vminitd/cage"
	"github.com/vzctl/vzctl/guest/vminitd/prime"
	"github.com/vzctl/vzctl/guest/vminitd/rootfs"
	"github.com/vzctl/vzctl/sdk/fault"
)

// primedDir is where disks are mounted that containers to come have, each below its place in the list, and the root of them all.
const primedDir = "/run/vzctl/primed"

// cageTime bounds how long a program is run before there is a container.
const cageTime = 300 * time.Millisecond

// primed is what a machine has mounted before there is a container.
type primed struct {
	lower []Disk
	disks []rootfs.Disk // of lower
	upper Disk
	root  *rootfs.Root // of lower and upper; nil if there is none, or a container has it
}

// Prime mounts images' disks before there is a container, reads what programs need that are named by paths within them, and runs the first of them in a cage; or it mounts the root of a container to come of these and another disk. It returns how many bytes were read.
func (r *Runtime) Prime(ctx context.Context, lower []Disk, upper *Disk, programs []string) (read int64, err error) {
	<-r.ready
	if r.readyErr != nil {
		return 0, r.readyErr
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.containers) > 0 || r.primed != nil && len(lower) > 0 {
		return 0, tooLate("it has begun")
	}
	if len(lower) > 0 {
		if read, err = r.primeLower(ctx, lower, programs); err != nil {
			return read, err
		}
	}
	if upper != nil {
		err = r.primeRoot(ctx, *upper)
	}
	return read, err
}

func tooLate(why string) error {
	return &fault.Error{Reason: fault.FailedPrecondition, Op: "prime the machine", Cause: errors.New(why)}
}

func (r *Runtime) primeLower(ctx context.Context, lower []Disk, programs []string) (read int64, err error) {
	p := &primed{lower: lower}
	for i, d := range lower {
		device, err := r.disks.Find(ctx, d.Serial)
		if err != nil {
			return read, err
		}
		at := filepath.Join(primedDir, strconv.Itoa(i))
		if err := os.MkdirAll(at, 0o700); err != nil {
			return read, err
		}
		disk := rootfs.Disk{Device: device, FileSystem: d.FileSystem}
		if err := rootfs.MountImage(disk, at); err != nil {
			return read, err
		}
		read += prime.Read(at, programs, prime.MaxTotal-read)
		disk.Mounted = at
		p.disks = append(p.disks, disk)
	}
	r.primed = p
	r.rehearse(ctx, p, programs)
	return read, nil
}

// rehearse runs the first of some programs in a cage, of which all that is wanted is that its code is known. That it cannot be run there is no failure: what a container runs may be for others than nobody, or no program.
func (r *Runtime) rehearse(ctx context.Context, p *primed, programs []string) {
	if len(p.disks) != 1 || !boot.CodeStays() { // none of several is a root; and elsewhere it would not be known
		return
	}
	program := prime.First(p.disks[0].Mounted, programs)
	if program == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, cageTime)
	defer cancel()
	if err := cage.Run(ctx, r.reaper, p.disks[0].Mounted, program); err != nil {
		fmt.Fprintln(os.Stderr, "vminitd: run a program to know it:", err)
	}
}

// primeRoot mounts a root, and has all that this writes on its disk: what the machine knows of the disk is true of any that is equal then.
func (r *Runtime) primeRoot(ctx context.Context, upper Disk) error {
	p := r.primed
	if p == nil || p.root != nil {
		return tooLate("it has no image, or a root")
	}
	device, err := r.disks.Find(ctx, upper.Serial)
	if err != nil {
		return err
	}
	dir := filepath.Join(primedDir, "root")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	root, err := rootfs.Mount(dir, p.disks, &rootfs.Disk{Device: device, FileSystem: upper.FileSystem}, places, nil)
	if err != nil {
		return err
	}
	if err := root.Sync(); err != nil {
		return errors.Join(err, root.Unmount())
	}
	p.upper, p.root = upper, root
	return nil
}

// takeRoot returns the root that is mounted already, if it is of a container's disks. Otherwise it is unmounted, as the container has its disk.
func (r *Runtime) takeRoot(lower []Disk, upper *Disk, mapped bool) (*rootfs.Root, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.primed
	if p == nil || p.root == nil {
		return nil, nil
	}
	root := p.root
	p.root = nil
	if upper == nil || *upper != p.upper || !slices.Equal(lower, p.lower) || mapped {
		return nil, root.Unmount()
	}
	return root, root.Begin()
}

// mountedAlready returns where a container's disk is mounted since the machine was primed; "" if it is not.
func (r *Runtime) mountedAlready(serial string, d rootfs.Disk) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.primed == nil {
		return ""
	}
	for i, known := range r.primed.disks {
		if r.primed.lower[i].Serial == serial && known.Device == d.Device && known.FileSystem == d.FileSystem {
			return known.Mounted
		}
	}
	return ""
}
