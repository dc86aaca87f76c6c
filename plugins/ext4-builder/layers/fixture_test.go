package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"sort"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
)

// discard is a Store that keeps sizes only.
type discard struct{}

func (discard) AddData(ctx context.Context, r io.Reader, size int64) (ext4.Data, error) {
	n, err := io.Copy(io.Discard, io.LimitReader(r, size))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return ext4.Data{}, err
}

// keeper is a Store that remembers contents by the order of arrival.
type keeper struct{ contents []string }

func (k *keeper) AddData(_ context.Context, r io.Reader, size int64) (ext4.Data, error) {
	b, err := io.ReadAll(io.LimitReader(r, size))
	k.contents = append(k.contents, string(b))
	return ext4.Data{}, err
}

// Short forms of entries.

func file(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}
}

func owned(name string, uid int) tar.Header {
	h := file(name)
	h.Uid = uid
	return h
}

func dir(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}
}

func link(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
}

func symlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}

func xattr(name, key, value string) tar.Header {
	h := file(name)
	h.PAXRecords = map[string]string{xattrRecord + key: value}
	return h
}

// archive makes a tar of empty entries.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	for _, h := range headers {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// apply puts layers onto each other.
func apply(t testing.TB, layers ...[]byte) (*Tree, error) {
	t.Helper()
	tree := NewTree()
	for _, l := range layers {
		if err := tree.Apply(context.Background(), bytes.NewReader(l), discard{}); err != nil {
			return nil, err
		}
	}
	return tree, nil
}

// list describes a tree, one name a line: path, then "/" and the mode for
// directories, "-> target" for symlinks, the owner if it is not root, and "= path" for
// further names of a file.
func list(root *ext4.Node) string {
	var out strings.Builder
	first := make(map[*ext4.Node]string)
	var walk func(n *ext4.Node, path string)
	walk = func(n *ext4.Node, path string) {
		names := make([]string, 0, len(n.Children))
		for name := range n.Children {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			child, full := n.Children[name], path+name
			fmt.Fprint(&out, full)
			switch {
			case child.IsDir():
				fmt.Fprintf(&out, "/ %o", child.Mode&ext4.ModePerm)
			case first[child] != "":
				fmt.Fprintf(&out, " = %s", first[child])
			case child.Type() == ext4.ModeSymlink:
				fmt.Fprintf(&out, " -> %s", child.Target)
			}
			if child.UID != 0 {
				fmt.Fprintf(&out, " uid %d", child.UID)
			}
			out.WriteByte('\n')
			if child.IsDir() {
				walk(child, full+"/")
			} else if first[child] == "" {
				first[child] = full
			}
		}
	}
	walk(root, "")
	return out.String()
}
