package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/userns"
)

// An overlay cannot show other ids than its own, but those that it is laid of can (Linux 5.19). So each is mounted once more, with the ids of the namespace. The overlay works with what the
// thread that mounts it may do, and makes its own files, like those of its work directory, as that thread's user, who must be in the namespace: its root.

// mountMapped mounts the root with the ids of a user namespace.
func (r *Root) mountMapped(dir string, layers []string, top string, ns *userns.Namespace) error {
	mapped := make([]string, len(layers))
	for i, layer := range append(layers, top) {
		at := filepath.Join(dir, "mapped"+strconv.Itoa(i))
		if err := os.Mkdir(at, 0o700); err != nil {
			return err
		}
		if err := ns.MapAt(layer, at); err != nil {
			return fmt.Errorf("mount %s with the container's ids: %w", filepath.Base(layer), err)
		}
		r.mounts = append(r.mounts, at)
		if i == len(layers) {
			top = at
		} else {
			mapped[i] = at
		}
	}
	if !r.disk {
		if err := giveUpper(filepath.Join(top, "upper"), ns); err != nil {
			return err
		}
	}
	places := filepath.Join(dir, "places") // of its own: what no disk has shows the machine's ids
	return ns.Own(func() error {
		if err := MakePlaces(places); err != nil {
			return fmt.Errorf("make places: %w", err)
		}
		return r.mountOverlay(append(mapped, places), top)
	})
}

// giveUpper gives a layer in memory, which is of no disk, the owner that the image's root directory has in the namespace.
func giveUpper(upper string, ns *userns.Namespace) error {
	var stat unix.Stat_t
	if err := unix.Stat(upper, &stat); err != nil {
		return err
	}
	uid, gid := ns.IDs().Out(int(stat.Uid), int(stat.Gid))
	return unix.Chown(upper, uid, gid)
}
