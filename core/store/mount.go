package store

// MountType is what a mount is made of.
type MountType string

// The types. A tmpfs is in the runtime spec alone.
const (
	MountBind   MountType = "bind"
	MountVolume MountType = "volume"
)

// Mount is what a container finds from elsewhere.
type Mount struct {
	Type MountType `json:"type"`
	// Source is a path of the host, absolute, or the name of a volume.
	Source      string `json:"source"`
	Destination string `json:"destination"`
	ReadOnly    bool   `json:"readOnly,omitempty"`
	// Device is what VM and guest know it by. Mounts of one source have one.
	Device string `json:"device"`

	// File says that the source of a bind is a file, Transport by what it is shared (hypervisor.Share9P, ...), and Ownership whose the files are
	// (hypervisor.OwnershipHost, ...).
	File      bool   `json:"file,omitempty"`
	Transport string `json:"transport,omitempty"`
	Ownership string `json:"ownership,omitempty"`

	// Anonymous volumes are removed with their container if its user wants that. NoCopy leaves an empty volume empty.
	Anonymous bool `json:"anonymous,omitempty"`
	NoCopy    bool `json:"noCopy,omitempty"`
}

// Devices returns the first mount of each device, read-only if all of them are.
func Devices(mounts []Mount) []Mount {
	var devices []Mount
	at := map[string]int{}
	for _, m := range mounts {
		i, known := at[m.Device]
		if !known {
			at[m.Device] = len(devices)
			devices = append(devices, m)
			continue
		}
		devices[i].ReadOnly = devices[i].ReadOnly && m.ReadOnly
		devices[i].NoCopy = devices[i].NoCopy && m.NoCopy
	}
	return devices
}
