package supervisor

import (
	"context"
	"errors"
	"os"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/volumes"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// addMounts gives the sandbox what the container finds from elsewhere. Volumes are the supervisor's from now on, until releaseVolumes or its end.
func (s *supervision) addMounts(spec *sandbox.Spec) error {
	for _, m := range store.Devices(s.container.Mounts) {
		switch m.Type {
		case store.MountBind:
			if err := checkSource(m); err != nil {
				return err
			}
			spec.Shares = append(spec.Shares, hypervisor.Share{Tag: m.Device, Path: m.Source, ReadOnly: m.ReadOnly, Type: m.Transport, Ownership: m.Ownership})
		case store.MountVolume:
			v, err := s.useVolume(m)
			if err != nil {
				return err
			}
			spec.Volumes = append(spec.Volumes, v)
		default:
			return &fault.Error{Reason: fault.Unsupported, Op: "mount", Subject: m.Destination, Cause: errors.New("its type is unknown to this version")}
		}
		// What is written there is read again.
		spec.Discarded = spec.Discarded && (m.ReadOnly || m.Anonymous)
	}
	return nil
}

// checkSource makes sure that a source still is what the container was made for.
func checkSource(m store.Mount) error {
	info, err := os.Stat(m.Source)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &fault.Error{Reason: fault.NotFound, Op: "mount", Subject: m.Source, Cause: errors.New("there is no such directory or file any more")}
	case err != nil:
		return &fault.Error{Reason: fault.Unavailable, Op: "mount", Subject: m.Source, Cause: err}
	case m.File && !info.Mode().IsRegular():
		return &fault.Error{Reason: fault.FailedPrecondition, Op: "mount", Subject: m.Source, Cause: errors.New("it was a file when the container was created, and is none now")}
	case !m.File && !info.IsDir():
		return &fault.Error{Reason: fault.FailedPrecondition, Op: "mount", Subject: m.Source, Cause: errors.New("it was a directory when the container was created, and is none now")}
	}
	return nil
}

func (s *supervision) useVolume(m store.Mount) (sandbox.Volume, error) {
	all := volumes.At(s.store.Paths())
	v, err := all.Get(m.Source)
	if err != nil {
		return sandbox.Volume{}, err
	}
	held, err := all.Use(m.Source, m.ReadOnly, func() ([]string, error) { return s.othersUsing(m.Source) })
	if err != nil {
		return sandbox.Volume{}, err
	}
	s.volumes = append(s.volumes, held)
	out := sandbox.Volume{Name: m.Device, Disk: v.Disk, ReadOnly: m.ReadOnly, Journal: v.Journal}
	if !m.NoCopy {
		out.CopyFrom = m.Destination
	}
	return out, nil
}

// othersUsing names the other containers that run with a volume.
func (s *supervision) othersUsing(volume string) ([]string, error) {
	return s.others(volume, func(c store.Container) bool { return c.State.Active() && c.State != lifecycle.Restarting })
}

// others names the other containers that have a volume, and are wanted.
func (s *supervision) others(volume string, wanted func(store.Container) bool) (names []string, err error) {
	entries, err := s.store.List()
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		c := entry.Container
		if entry.Err != nil || c.ID == s.container.ID || !wanted(c) {
			continue
		}
		for _, m := range store.Devices(c.Mounts) {
			if m.Type == store.MountVolume && m.Source == volume {
				names = append(names, c.Name)
			}
		}
	}
	return names, nil
}

// releaseVolumes lets others have the volumes. The machine that had them has ended.
func (s *supervision) releaseVolumes() {
	for _, held := range s.volumes {
		if err := held.Close(); err != nil {
			s.log.Warn("cannot let go of a volume", "error", err)
		}
	}
	s.volumes = nil
}

// removeAnonymous removes the volumes that were made for a container that is gone.
func (s *supervision) removeAnonymous(ctx context.Context) {
	for _, m := range s.container.Mounts {
		if !m.Anonymous {
			continue
		}
		err := volumes.At(s.store.Paths()).Remove(ctx, m.Source, func() ([]string, error) {
			return s.others(m.Source, func(store.Container) bool { return true })
		})
		if err != nil && !errors.Is(err, fault.NotFound) {
			s.log.Warn("cannot remove a volume", "volume", m.Source, "error", err)
		}
	}
}

// savable refuses to save what could not go on as it was.
func (s *supervision) savable(leaveRunning bool) error {
	for _, m := range store.Devices(s.container.Mounts) {
		refuse := func(why string) error {
			return &fault.Error{Reason: fault.FailedPrecondition, Op: "save mount", Subject: m.Destination, Cause: errors.New(why)}
		}
		switch {
		case m.Type == store.MountBind:
			return refuse("a directory of the host may change at any time")
		case leaveRunning && !m.ReadOnly:
			return refuse("a volume has one content: the container cannot both go on writing to it and keep it as it is")
		}
	}
	return nil
}

// volumeDisks are the paths of the container's volumes, and which of them it writes to.
func (s *supervision) volumeDisks() (all, written []string) {
	for _, m := range store.Devices(s.container.Mounts) {
		if m.Type != store.MountVolume {
			continue
		}
		path := s.store.Paths().VolumeDisk(m.Source)
		all = append(all, path)
		if !m.ReadOnly {
			written = append(written, path)
		}
	}
	return all, written
}
