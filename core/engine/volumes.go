package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vzctl/vzctl/core/events"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/volumes"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// VolumeRequest describes a volume.
type VolumeRequest struct {
	Name      string // empty: made up
	SizeBytes uint64 // as its file system has it; 0: the configuration's, or DefaultDiskBytes
	Labels    map[string]string
	// Journal is how file data is journalled: "ordered", "writeback" or "journal"; empty: as the guest's kernel does.
	Journal string
}

// VolumeView is a volume, and who has it.
type VolumeView struct {
	Name           string            `json:"name"`
	Created        time.Time         `json:"created"`
	Labels         map[string]string `json:"labels,omitempty"`
	Anonymous      bool              `json:"anonymous,omitempty"`
	FileSystem     string            `json:"fileSystem"`
	Journal        string            `json:"journal,omitempty"`
	SizeBytes      int64             `json:"sizeBytes"`      // as a container sees it
	AllocatedBytes int64             `json:"allocatedBytes"` // what it takes on the host
	Path           string            `json:"path"`           // of the disk on the host
	Containers     []string          `json:"containers"`     // that have it, running or not
}

// Journals are the modes of the journal of a volume or a writable layer, besides none chosen.
var Journals = []string{"ordered", "writeback", "journal"}

func checkJournal(mode, op, subject string) error {
	if mode == "" || slices.Contains(Journals, mode) {
		return nil
	}
	return &fault.Error{Reason: fault.Invalid, Op: op, Subject: subject, Cause: fmt.Errorf("there is no journal mode %q", mode), Hint: "use ordered, writeback or journal"}
}

// CreateVolume makes a volume. One of that name is no error if it is what would be made.
func (e *Engine) CreateVolume(ctx context.Context, r VolumeRequest) (VolumeView, error) {
	if err := checkJournal(r.Journal, "make volume", r.Name); err != nil {
		return VolumeView{}, err
	}
	v := volumes.Volume{Name: r.Name, Labels: r.Labels, Journal: r.Journal}
	if v.Name == "" {
		v.Name, v.Anonymous = store.NewID(), true
	}
	there, err := volumes.At(e.store.Paths()).Get(v.Name)
	switch {
	case err == nil:
		if r.SizeBytes != 0 && int64(r.SizeBytes) != there.Disk.SizeBytes || r.Journal != there.Journal {
			return VolumeView{}, &fault.Error{Reason: fault.AlreadyExists, Op: "make volume", Subject: v.Name, Cause: errors.New("there is one that differs")}
		}
	case !errors.Is(err, fault.NotFound):
		return VolumeView{}, err
	default:
		plugin, err := e.host.Find(ctx, sdk.RootfsBuilder, "")
		if err != nil {
			return VolumeView{}, err
		}
		builder := rootfsBuilder{engine: e, plugin: plugin}
		defer builder.close()
		if err := e.ensureVolume(ctx, v, e.volumeBytes(r.SizeBytes), &builder); err != nil {
			return VolumeView{}, err
		}
	}
	return e.InspectVolume(ctx, v.Name)
}

func (e *Engine) volumeBytes(asked uint64) int64 {
	switch {
	case asked != 0:
		return int64(asked)
	case e.config.Defaults.Disk != 0:
		return int64(e.config.Defaults.Disk)
	}
	return DefaultDiskBytes
}

func (e *Engine) ensureVolume(ctx context.Context, v volumes.Volume, size int64, builder *rootfsBuilder) error {
	_, made, err := volumes.At(e.store.Paths()).Ensure(ctx, v, func(path string) (rootfs.Disk, error) {
		return builder.layer(ctx, rootfs.WritableRequest{RequestID: "volume " + v.Name, Path: path, SizeBytes: size, Purpose: rootfs.Volume})
	})
	if made {
		e.tell(ctx, events.Event{Type: "volume", Action: "create", ID: v.Name, Name: v.Name})
	}
	return err
}

// ListVolumes returns all volumes by name.
func (e *Engine) ListVolumes(context.Context) ([]VolumeView, error) {
	list, err := volumes.At(e.store.Paths()).List()
	if err != nil {
		return nil, err
	}
	return e.volumeViews(list)
}

// InspectVolume returns one volume.
func (e *Engine) InspectVolume(_ context.Context, name string) (VolumeView, error) {
	v, err := volumes.At(e.store.Paths()).Get(name)
	if err != nil {
		return VolumeView{}, err
	}
	views, err := e.volumeViews([]volumes.Volume{v})
	if err != nil {
		return VolumeView{}, err
	}
	return views[0], nil
}

func (e *Engine) volumeViews(list []volumes.Volume) (views []VolumeView, err error) {
	entries, err := e.store.List()
	if err != nil {
		return nil, err
	}
	for _, v := range list {
		view := VolumeView{Name: v.Name, Created: v.Created, Labels: v.Labels, Anonymous: v.Anonymous, FileSystem: v.Disk.FileSystem, Journal: v.Journal,
			SizeBytes: v.Disk.SizeBytes, Path: v.Disk.Path, Containers: append([]string{}, usersOf(v.Name, entries)...)}
		if view.AllocatedBytes, err = v.Allocated(); err != nil {
			return nil, &fault.Error{Reason: fault.Unavailable, Op: "look at volume", Subject: v.Name, Cause: err}
		}
		views = append(views, view)
	}
	return views, nil
}

// RemoveVolume removes a volume that no container has.
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	err := volumes.At(e.store.Paths()).Remove(ctx, name, func() ([]string, error) { return e.volumeUsers(name) })
	if err == nil {
		e.tell(ctx, events.Event{Type: "volume", Action: "destroy", ID: name, Name: name})
	}
	return err
}

// PruneVolumes removes the volumes that no container has: those without a name of their own, or all. It returns what was removed.
func (e *Engine) PruneVolumes(ctx context.Context, all bool) (removed []VolumeView, err error) {
	views, err := e.ListVolumes(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		if len(v.Containers) > 0 || !v.Anonymous && !all {
			continue
		}
		removeErr := e.RemoveVolume(ctx, v.Name)
		switch {
		case removeErr == nil:
			removed = append(removed, v)
		case !errors.Is(removeErr, fault.NotFound) && !errors.Is(removeErr, fault.FailedPrecondition): // else another has removed it, or taken it
			err = errors.Join(err, removeErr)
		}
	}
	return removed, err
}
