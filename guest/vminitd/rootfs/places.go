package rootfs

import (
	"errors"
	"os"
	"path/filepath"
)

// MakePlaces fills a new directory with what all containers have something mounted on. Many images lack some of it, and each would have to be made in the container's own layer, for
// which overlayfs copies the directories above and a journal is written: an emulated machine takes milliseconds for it. Below all layers it is seen only where an image has
// nothing.
func MakePlaces(dir string) error {
	for _, name := range []string{"dev", "proc", "sys", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		file, err := os.OpenFile(filepath.Join(dir, "etc", name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}
