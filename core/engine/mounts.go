package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/core/runtimespec"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/volumes"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// Mount is a directory or file of the host, or a volume, that a container finds at a place of its own.
type Mount struct {
	Type store.MountType
	// Source is a path of the host; or the name of a volume, which is made if there is none. Empty: a volume without a name is made.
	Source      string
	Destination string
	ReadOnly    bool
	// Create has a missing directory of the host be made.
	Create bool
	// Ownership is whose files of the host are: hypervisor.OwnershipHost, which "" is, or OwnershipMapped.
	Ownership string
	// Transport is by what a directory of the host is shared: hypervisor.Share9P or ShareVirtioFS. "" leaves it to the configuration, and then to what the hypervisor offers.
	Transport string
	// NoCopy leaves an empty volume empty, although the image has something at the place.
	NoCopy bool
}

// checkMounts refuses what needs no look at the image.
func (r *CreateRequest) checkMounts() error {
	r.Mounts = slices.Clone(r.Mounts)
	taken := map[string]bool{}
	for i := range r.Mounts {
		m := &r.Mounts[i]
		refuse := func(subject, cause, hint string) error {
			return &fault.Error{Reason: fault.Invalid, Op: "mount", Subject: subject, Cause: errors.New(cause), Hint: hint}
		}
		var err error
		if m.Destination, err = runtimespec.CheckDestination(m.Destination); err != nil {
			return err
		}
		if taken[m.Destination] {
			return refuse(m.Destination, "two things are to be mounted there", "")
		}
		taken[m.Destination] = true
		switch m.Type {
		case store.MountBind:
			if !filepath.IsAbs(m.Source) {
				return refuse(m.Source, "its path is not absolute", "")
			}
			m.Source = filepath.Clean(m.Source)
			m.Ownership = firstNonEmpty(m.Ownership, hypervisor.OwnershipHost)
			if !slices.Contains([]string{hypervisor.OwnershipHost, hypervisor.OwnershipMapped}, m.Ownership) {
				return refuse(m.Source, fmt.Sprintf("there is no ownership %q", m.Ownership), "use host or mapped")
			}
			if !slices.Contains([]string{"", hypervisor.Share9P, hypervisor.ShareVirtioFS}, m.Transport) {
				return refuse(m.Source, fmt.Sprintf("there is no transport %q", m.Transport), "use 9p or virtiofs")
			}
			if m.Transport == hypervisor.ShareVirtioFS && m.Ownership == hypervisor.OwnershipMapped {
				return refuse(m.Source, "virtiofs cannot map ownership", "use transport=9p, or leave the ownership out")
			}
		case store.MountVolume:
			if m.Source != "" {
				if err := store.CheckName(m.Source); err != nil {
					return err
				}
			}
		default:
			return refuse(m.Destination, fmt.Sprintf("there is no type %q", m.Type), "use bind or volume")
		}
	}
	return nil
}

// resolveMounts returns the record's mounts: those of the request, and a volume for each VOLUME of the image at whose place there is nothing else. Directories
// that are missing and may be made, are.
func (r CreateRequest) resolveMounts(image imagespec.ImageConfig) (mounts []store.Mount, err error) {
	taken := map[string]bool{}
	for _, text := range r.Isolation.Tmpfs {
		destination, _, _ := strings.Cut(text, ":")
		taken[filepath.Clean(destination)] = true
	}
	for _, m := range r.Mounts {
		mount := store.Mount{Type: m.Type, Source: m.Source, Destination: m.Destination, ReadOnly: m.ReadOnly, NoCopy: m.NoCopy}
		if m.Type == store.MountBind {
			mount.Ownership, mount.Transport = m.Ownership, m.Transport
			if mount.File, err = bindSource(m); err != nil {
				return nil, err
			}
		}
		mounts = append(mounts, mount)
		taken[m.Destination] = true
	}
	for _, destination := range slices.Sorted(maps.Keys(image.Volumes)) {
		clean, err := runtimespec.CheckDestination(destination)
		if err != nil {
			return nil, fmt.Errorf("a volume of the image: %w", err)
		}
		if !taken[clean] {
			taken[clean] = true
			mounts = append(mounts, store.Mount{Type: store.MountVolume, Destination: clean})
		}
	}
	devices := map[store.Mount]string{}
	counts := map[store.MountType]int{}
	names := map[store.MountType]string{store.MountBind: "share", store.MountVolume: "volume"}
	for i := range mounts {
		m := &mounts[i]
		if m.Type == store.MountVolume && m.Source == "" {
			m.Source, m.Anonymous = store.NewID(), true
		}
		source := store.Mount{Type: m.Type, Source: m.Source, Ownership: m.Ownership, Transport: m.Transport}
		if devices[source] == "" {
			devices[source] = fmt.Sprintf("%s%d", names[m.Type], counts[m.Type])
			counts[m.Type]++
		}
		m.Device = devices[source]
	}
	return mounts, nil
}

// bindSource looks at a source, and says whether it is a file.
func bindSource(m Mount) (file bool, err error) {
	info, err := os.Stat(m.Source)
	if errors.Is(err, fs.ErrNotExist) && m.Create {
		if err = os.MkdirAll(m.Source, 0o755); err == nil {
			info, err = os.Stat(m.Source)
		}
	}
	if err != nil {
		return false, badSource(m.Source, err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return false, badSource(m.Source, errors.New("it is neither a directory nor a regular file"))
	}
	return info.Mode().IsRegular(), nil
}

func badSource(path string, err error) error {
	reason := fault.Invalid
	switch {
	case errors.Is(err, fs.ErrNotExist):
		reason, err = fault.NotFound, errors.New("there is no such directory or file")
	case errors.Is(err, fs.ErrPermission):
		reason, err = fault.PermissionDenied, errors.New("permission denied")
	}
	return &fault.Error{Reason: reason, Op: "mount", Subject: path, Cause: err}
}

// specMounts are the mounts as the runtime spec has them, with sources that the guest mounts.
func specMounts(mounts []store.Mount) (list []runtimespec.Mount) {
	for _, m := range mounts {
		source := "sources/" + m.Device
		if m.File {
			source += "/" + hypervisor.ShareFile
		}
		list = append(list, runtimespec.Mount{Source: source, Destination: m.Destination, ReadOnly: m.ReadOnly})
	}
	return list
}

// withoutMounts returns a runtime spec for a VM that has the container's root alone.
func withoutMounts(text []byte, mounts []store.Mount) ([]byte, error) {
	if len(mounts) == 0 {
		return text, nil
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, &fault.Error{Reason: fault.Internal, Op: "read the runtime spec", Cause: err}
	}
	spec.Mounts = slices.DeleteFunc(spec.Mounts, func(s specs.Mount) bool {
		return slices.ContainsFunc(mounts, func(m store.Mount) bool { return m.Destination == s.Destination })
	})
	return json.Marshal(spec)
}

// chooseTransport says how directories of the host are shared, unless their mounts do.
func (e *Engine) chooseTransport(ctx context.Context, c *store.Container, hv string) error {
	if !slices.ContainsFunc(c.Mounts, func(m store.Mount) bool { return m.Type == store.MountBind }) {
		return nil
	}
	info, err := e.pluginInfo(ctx, sdk.Hypervisor, hv, false)
	if err != nil {
		return err
	}
	fillTransports(c.Mounts, e.config.Defaults.MountTransport, info)
	return nil
}

// fillTransports gives mounts that do not say it the transport of the configuration or, without that, the first one that the hypervisor offers and clones of VMs can have.
func fillTransports(mounts []store.Mount, configured string, hv sdk.Info) {
	offered := hypervisor.Share9P // that it is needed, a refusal says
	if !hv.Offers(hypervisor.CapabilityShare, hypervisor.Share9P) && hv.Offers(hypervisor.CapabilityShare, hypervisor.ShareVirtioFS) {
		offered = hypervisor.ShareVirtioFS
	}
	for i := range mounts {
		m := &mounts[i]
		switch {
		case m.Type != store.MountBind || m.Transport != "":
		case m.Ownership == hypervisor.OwnershipMapped: // which is asked for with the mount, and goes over a default
			m.Transport = offered
		default:
			m.Transport = cmp.Or(configured, offered)
		}
	}
}

// ensureVolumes makes the volumes that are missing. Nobody removes one that a record names.
func (e *Engine) ensureVolumes(ctx context.Context, c *store.Container, builder *rootfsBuilder) error {
	for _, m := range store.Devices(c.Mounts) {
		if m.Type != store.MountVolume {
			continue
		}
		v := volumes.Volume{Name: m.Source, Anonymous: m.Anonymous}
		if err := e.ensureVolume(ctx, v, e.volumeBytes(0), builder); err != nil {
			return err
		}
	}
	return nil
}

// discardAnonymous removes the volumes that were made for a container that is gone. What cannot be removed is said, and stays.
func (e *Engine) discardAnonymous(ctx context.Context, mounts []store.Mount) {
	for _, m := range mounts {
		if !m.Anonymous {
			continue
		}
		err := volumes.At(e.store.Paths()).Remove(ctx, m.Source, func() ([]string, error) { return e.volumeUsers(m.Source) })
		if err != nil && !errors.Is(err, fault.NotFound) {
			e.log.Warn("cannot remove a volume", "volume", m.Source, "error", err)
		}
	}
}

// volumeUsers names the containers that have a volume, running or not.
func (e *Engine) volumeUsers(name string) ([]string, error) {
	entries, err := e.store.List()
	if err != nil {
		return nil, err
	}
	return usersOf(name, entries), nil
}

func usersOf(volume string, entries []store.Entry) (users []string) {
	for _, entry := range entries {
		if slices.ContainsFunc(entry.Container.Mounts, func(m store.Mount) bool { return m.Type == store.MountVolume && m.Source == volume }) {
			users = append(users, cmp.Or(entry.Container.Name, entry.ID))
		}
	}
	return users
}

// MountView is a mount as inspect shows it.
type MountView struct {
	Type        string `json:"type"`
	Source      string `json:"source"` // path of the host, or name of the volume
	Destination string `json:"destination"`
	ReadOnly    bool   `json:"readOnly"`
	Anonymous   bool   `json:"anonymous,omitempty"`
	Transport   string `json:"transport,omitempty"` // of a directory of the host: "9p", "virtiofs"
	Ownership   string `json:"ownership,omitempty"`
	// Limits are what does not work as on a disk.
	Limits []string `json:"limits,omitempty"`
}

func mountViews(mounts []store.Mount) (views []MountView) {
	for _, m := range mounts {
		v := MountView{Type: string(m.Type), Source: m.Source, Destination: m.Destination, ReadOnly: m.ReadOnly, Anonymous: m.Anonymous,
			Transport: m.Transport, Ownership: m.Ownership}
		if m.Type == store.MountBind {
			v.Limits = []string{"no inotify events of what the host changes", "no checkpoint"}
		}
		if m.Transport == hypervisor.ShareVirtioFS {
			v.Limits = append(v.Limits, "no start from a template")
		}
		views = append(views, v)
	}
	return views
}
