package overlay

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"path"
	"strings"
	"testing"
)

// FuzzTar exports an upper disk with arbitrary directives of overlayfs on it. Each
// byte of shape says what a file is and where; redirects come from the input.
func FuzzTar(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5}, "/d", "d")
	f.Add([]byte{1, 1, 5, 4, 9, 17, 33}, "d", "/d/e/..")
	f.Add([]byte{3, 3, 3}, "/", "")
	f.Fuzz(func(t *testing.T, shape []byte, redirectA, redirectB string) {
		lower := disk(t, 1, spec{"d/", "", nil}, spec{"d/e/", "", nil}, spec{"d/e/f", "data", nil}, spec{"d0", "data", nil})
		upper := []spec{}
		dirs := []string{""}
		for i, b := range shape[:min(len(shape), 20)] {
			s := spec{path: dirs[int(b>>4)%len(dirs)] + "d", content: "data"}
			if i%2 == 1 {
				s.path += string(rune('0' + i))
			}
			switch b & 7 {
			case 0:
				s.content = whiteout
			case 1, 2, 3:
				s.path += "/"
				dirs = append(dirs, s.path)
			}
			if b&1 != 0 && len(redirectA) < 1000 {
				s.attrs = append(s.attrs, xattrRedirect+"="+redirectA)
			} else if b&2 != 0 && len(redirectB) < 1000 {
				s.attrs = append(s.attrs, xattrRedirect+"="+redirectB)
			}
			if b&8 != 0 {
				s.attrs = append(s.attrs, xattrMetacopy+"=")
			}
			upper = append(upper, s)
		}
		v, err := Open([]Disk{lower, disk(t, 2, consistent(upper)...)})
		if err != nil {
			t.Fatal(err)
		}
		err = Tar(context.Background(), v, io.Discard)
		_ = err // any error will do
	})
}

// consistent drops specs of names that are taken and of parents that are no directories.
func consistent(specs []spec) (out []spec) {
	isDir := map[string]bool{".": true}
	for _, s := range specs {
		name := path.Clean(s.path)
		if _, taken := isDir[name]; taken || !isDir[path.Dir(name)] {
			continue
		}
		isDir[name] = strings.HasSuffix(s.path, "/")
		out = append(out, s)
	}
	return out
}

// FuzzOrigin decodes handles of files.
func FuzzOrigin(f *testing.F) {
	handle := append([]byte{0, 0xfb, 29, 0, 1, 1}, make([]byte, 15)...)
	f.Add(binary.LittleEndian.AppendUint64(handle, 12))
	v, err := Open([]Disk{disk(f, 1, spec{"a", "1", nil}), disk(f, 2)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, ok := v.origin(v.disks[0], b); ok && (id.depth != 1 || !bytes.Contains(b, binary.LittleEndian.AppendUint32(nil, id.ino))) {
			t.Errorf("%x gives %v", b, id)
		}
	})
}
