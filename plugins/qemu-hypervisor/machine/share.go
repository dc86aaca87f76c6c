package machine

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vzctl/vzctl/sdk/hypervisor"
)

func validTag(tag string) bool { return only(tag, letters+"_-", hypervisor.MaxTag) }

func checkShares(s hypervisor.Spec) error {
	seen := map[string]bool{}
	for _, share := range s.Shares {
		switch {
		case !validTag(share.Tag):
			return invalid(fmt.Sprintf("use 1 to %d of a-z A-Z 0-9 _ -", hypervisor.MaxTag), "bad tag %q of a share", share.Tag)
		case seen[share.Tag]:
			return invalid("", "two shares of tag %q", share.Tag)
		case !slices.Contains([]string{"", hypervisor.Share9P, hypervisor.ShareVirtioFS}, share.Type):
			return unsupported("use 9p or virtiofs", "share %q by %q", share.Tag, share.Type)
		case !slices.Contains([]string{"", hypervisor.OwnershipHost, hypervisor.OwnershipMapped}, share.Ownership):
			return unsupported("use host or mapped", "share %q with ownership %q", share.Tag, share.Ownership)
		case share.Type == hypervisor.ShareVirtioFS && share.Ownership == hypervisor.OwnershipMapped:
			return unsupported("use 9p", "share %q by virtiofs with ownership mapped", share.Tag)
		}
		seen[share.Tag] = true
	}
	return nil
}

// ByVirtioFS says whether a share of the VM is served by a virtiofsd, to which the guest's memory has to be open. Such a VM has no template and no snapshot: QEMU
// does not know the state of a virtiofsd.
func ByVirtioFS(s hypervisor.Spec) bool {
	return slices.ContainsFunc(s.Shares, func(share hypervisor.Share) bool { return share.Type == hypervisor.ShareVirtioFS })
}

// ShareDir is the directory that stands for the i-th share if that is a file: there is nothing in it but the file, as hypervisor.ShareFile. A virtiofsd finds a
// directory there, too.
func ShareDir(s hypervisor.Spec, i int) string { return filepath.Join(s.StateDir, shareID(i)) }

func shareID(i int) string { return fmt.Sprintf("share%d", i) }

// virtioFSArguments makes a device whose requests go to the virtiofsd at the other end of a connected socket.
func virtioFSArguments(i int, share hypervisor.Share, socket int) []string {
	return []string{"-chardev", fmt.Sprintf("socket,id=%s,fd=%d", shareID(i), socket),
		"-device", object("driver", "vhost-user-fs-device", "chardev", shareID(i), "tag", share.Tag)}
}

// shareArguments makes a 9p device. Nothing of the directory behind it is in the device, so that clones of one template can have different ones.
func shareArguments(i int, share hypervisor.Share, root bool) []string {
	options := []string{"local", "id=" + shareID(i), "path=" + strings.ReplaceAll(share.Path, ",", ",,"), "security_model=" + securityModel(share, root),
		"multidevs=remap"} // two files of two file systems below the directory must not have one inode number
	if share.ReadOnly {
		options = append(options, "readonly=on")
	}
	return []string{"-fsdev", strings.Join(options, ","), "-device", object("driver", "virtio-9p-device", "fsdev", shareID(i), "mount_tag", share.Tag)}
}

// securityModel says whose files are. As root, a file that the guest makes is given to whom it belongs there. Others cannot do that: with "none" such a file is the
// user's, and a change of owner is refused.
func securityModel(share hypervisor.Share, root bool) string {
	switch {
	case share.Ownership == hypervisor.OwnershipMapped:
		return "mapped-xattr"
	case root:
		return "passthrough"
	}
	return "none"
}
