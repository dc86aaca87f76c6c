package machine

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// rehearseWord on the kernel's command line has the guest go through the whole life of a container before it waits for its host, and undo it: what it has run is translated in all
// copies of its QEMU. See docs/guest.md.
const rehearseWord = "vzctl.rehearse=full"

// standbyName is the name of a QEMU that stands by. Copies have their ids in its place, so it is as long as ids are.
const standbyName = "standby-------------------------"

const defaultStandby = 10 * time.Minute

// StandbyTime is how long a VM stands by to be forked after it was last; 0: none does.
func StandbyTime(options map[string]string) (time.Duration, error) {
	switch text := options[OptionStandby]; text {
	case "":
		return defaultStandby, nil
	case "off":
		return 0, nil
	default:
		keep, err := time.ParseDuration(text)
		if err == nil && keep <= 0 {
			err = fmt.Errorf("%q is no time to wait", text)
		}
		return keep, err
	}
}

// Standby returns the spec of the VM that stands by to be forked for VMs like s. It is a template but for this: a copy of its QEMU has the options of shares and the disks' serials that QEMU was started
// with. Directory dir is its alone, also for its sockets.
func Standby(s hypervisor.Spec, dir string) hypervisor.Spec {
	t := Template(s, dir)
	t.ID, t.RuntimeDir = standbyName, dir
	for i, disk := range s.Disks {
		t.Disks[i].Serial = disk.Serial
	}
	for i := range t.NICs {
		t.NICs[i].Link.UnixDatagram.VMPath, t.NICs[i].Link.UnixDatagram.NetworkPath = "", "" // by descriptor
	}
	for i, share := range s.Shares {
		t.Shares[i].ReadOnly, t.Shares[i].Ownership = share.ReadOnly, share.Ownership
	}
	if s.ConsolePath != "" {
		t.ConsolePath = filepath.Join(dir, "boot.log")
	}
	t.Kernel.CommandLine = strings.TrimSpace(t.Kernel.CommandLine + " " + rehearseWord)
	return t
}

// StandbyShape is what VMs have to have in common to be forked from one, but for the contents of kernel, initrd and QEMU, and where they run.
func StandbyShape(s hypervisor.Spec, host Host) []string {
	t := Standby(s, "/")
	console := -1
	if s.ConsolePath != "" {
		console = 0
	}
	return Arguments(t, host, Wiring{Console: console, Named: true, Forked: true})
}
