package guest

import (
	"bytes"
	"context"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
	"github.com/vzctl/vzctl/plugins/ext4-builder/sparse"
)

// Entry is a file of an image: a link if it has a target, a directory if its path ends in a slash, else a regular file.
type Entry struct {
	Path   string
	Mode   uint16 // 0644 or 0755 if zero
	UID    uint32
	Body   string
	Target string
}

const busybox = "/usr/bin/busybox"

// Image makes a read-only image with busybox, its names, a passwd, and the entries.
func Image(t testing.TB, entries ...Entry) Disk {
	t.Helper()
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatalf("needs Debian's busybox-static: %v", err)
	}
	all := []Entry{
		{Path: "/bin/busybox", Mode: 0o755, Body: string(program)},
		{Path: "/etc/passwd", Body: "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100:Alice:/home/alice:/bin/sh\n"},
		{Path: "/etc/group", Body: "root:x:0:\nusers:x:100:\nwheel:x:10:alice\n"},
		{Path: "/etc/hosts", Body: "the image's\n"},
		{Path: "/tmp/", Mode: 0o1777},
		{Path: "/root/", Mode: 0o700},
		{Path: "/home/alice/", UID: 1000},
	}
	for _, name := range strings.Fields("sh echo printf umask yes cat true false id pwd env ls sleep mv mkdir rm ln stat kill touch mount umount hostname ps " +
		"readlink dd sha256sum wc stty mknod head chmod chown ulimit test sync grep cut ip nc sysctl ipcs ipcmk printenv tr tail find") {
		all = append(all, Entry{Path: "/bin/" + name, Target: "busybox"})
	}
	return ImageOf(t, append(all, entries...)...)
}

// ImageOf makes a read-only image of the entries.
func ImageOf(t testing.TB, entries ...Entry) Disk {
	t.Helper()
	file := create(t)
	w := ext4.NewWriter(sparse.NewFile(file), ext4.Options{UUID: [16]byte{1, byte(len(entries))}, Label: "test"})
	root := directoryNode()
	for _, e := range entries {
		node := &ext4.Node{UID: e.UID, ModTime: time.Unix(1e9, 0)}
		switch {
		case e.Target != "":
			node.Mode, node.Target = ext4.ModeSymlink|0o777, e.Target
		case strings.HasSuffix(e.Path, "/"):
			node.Mode, node.Children = ext4.ModeDir|pick(e.Mode, 0o755), map[string]*ext4.Node{}
		default:
			data, err := w.AddData(context.Background(), bytes.NewReader([]byte(e.Body)), int64(len(e.Body)))
			if err != nil {
				t.Fatal(err)
			}
			node.Mode, node.Data = ext4.ModeRegular|pick(e.Mode, 0o644), data
		}
		insert(root, path.Clean(e.Path), node)
	}
	if err := w.Finish(context.Background(), root); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return Disk{Path: file.Name(), ReadOnly: true}
}

func directoryNode() *ext4.Node {
	return &ext4.Node{Mode: ext4.ModeDir | 0o755, ModTime: time.Unix(1e9, 0), Children: map[string]*ext4.Node{}}
}

func insert(root *ext4.Node, name string, node *ext4.Node) {
	parts := strings.Split(strings.Trim(name, "/"), "/")
	at := root
	for _, part := range parts[:len(parts)-1] {
		if at.Children[part] == nil {
			at.Children[part] = directoryNode()
		}
		at = at.Children[part]
	}
	at.Children[parts[len(parts)-1]] = node
}

func pick(mode, otherwise uint16) uint16 {
	if mode == 0 {
		return otherwise
	}
	return mode
}

// Layer makes an empty writable file system.
func Layer(t testing.TB) Disk {
	t.Helper()
	file := create(t)
	if err := ext4.Format(context.Background(), sparse.NewFile(file), 256<<20, ext4.Options{UUID: [16]byte{2}}, ext4.EmptyDir{Name: "upper", Mode: 0o755}, ext4.EmptyDir{Name: "work", Mode: 0o700}); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return Disk{Path: file.Name()}
}

// Named gives a disk its serial.
func (d Disk) Named(serial string) Disk {
	d.Serial = serial
	return d
}

func create(t testing.TB) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}
