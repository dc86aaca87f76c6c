package sandbox

import (
	"errors"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// IOLimit bounds how fast the processes use a disk. Each number is of a second; 0 does not limit.
type IOLimit struct {
	Volume                                                 string // its name; "": each disk of the root
	ReadBytes, WriteBytes, ReadOperations, WriteOperations uint64
}

// Abilities of the guest. One without them would leave out what is asked for, and say nothing.
const (
	featureIOLimits = "io-limits"
	featureJournal  = "upper-journal"
)

// guestIOLimits is what the guest is told of limits.
func (s *Sandbox) guestIOLimits(limits []IOLimit) (all []*guestv1.IoLimit, err error) {
	if len(limits) > 0 && !s.guest.Offers(featureIOLimits) {
		return nil, &fault.Error{Reason: fault.Unsupported, Op: "limit disks", Cause: errors.New("the VM's init image is an older one, which cannot")}
	}
	for _, l := range limits {
		all = append(all, &guestv1.IoLimit{Source: l.Volume, ReadBytes: l.ReadBytes, WriteBytes: l.WriteBytes,
			ReadOperations: l.ReadOperations, WriteOperations: l.WriteOperations})
	}
	return all, nil
}

// guestJournal is what the guest is told of the journal of the writable layer.
func (s *Sandbox) guestJournal() (string, error) {
	if s.spec.Journal != "" && !s.guest.Offers(featureJournal) {
		return "", &fault.Error{Reason: fault.Unsupported, Op: "choose a journal", Cause: errors.New("the VM's init image is an older one, which cannot")}
	}
	return s.spec.Journal, nil
}
