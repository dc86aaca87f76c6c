package store

// RootPath is where the root is, whose disks are the image's and the writable layer.
const RootPath = "/"

// IOLimit bounds how fast a container's processes use a disk. Each number is of a second; 0 does not limit.
type IOLimit struct {
	// Path is where the disk is mounted in the container: RootPath, of whose disks each has the limit, or the first destination of a volume.
	Path            string `json:"path"`
	ReadBytes       uint64 `json:"readBytes,omitempty"`
	WriteBytes      uint64 `json:"writeBytes,omitempty"`
	ReadOperations  uint64 `json:"readOperations,omitempty"`
	WriteOperations uint64 `json:"writeOperations,omitempty"`
}

// VolumeDevice returns the device of the volume whose first destination is the path, or "".
func VolumeDevice(mounts []Mount, path string) string {
	for _, m := range Devices(mounts) {
		if m.Type == MountVolume && m.Destination == path {
			return m.Device
		}
	}
	return ""
}
