package ext4

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"testing"
)

// FuzzReader damages an image in a few places and reads all of it: that must
// end, without panic, whatever it finds. Each 5 bytes of input set one byte.
func FuzzReader(f *testing.F) {
	var image memory
	build(f, &image, everything)
	table := inodeAt(f, image.b, 1)
	patch := func(pairs ...int) (p []byte) {
		for i := 0; i < len(pairs); i += 2 {
			p = append(binary.LittleEndian.AppendUint32(p, uint32(pairs[i])), byte(pairs[i+1]))
		}
		return p
	}
	f.Add([]byte{})
	f.Add(patch(superblockOffset+0x18, 0, blockSize+8, 1))
	for ino := range 30 {
		at := table + ino*inodeSize
		f.Add(patch(at+7, 0x7F, at+0x28+2, 0xFF, at+0x68, 3))
		f.Add(patch(at+0x2E, 3, at+0x21, 0x10, at+0x80, 4))
	}
	f.Add(patch(dirBlockAt(f, image.b)+4, 0, dirBlockAt(f, image.b)+30, 200))
	f.Fuzz(func(t *testing.T, patches []byte) {
		damaged := bytes.Clone(image.b)
		for ; len(patches) >= 5; patches = patches[5:] {
			damaged[int(binary.LittleEndian.Uint32(patches))%len(damaged)] = patches[4]
		}
		fs, err := newReader(bytes.NewReader(damaged), int64(len(damaged)), true)
		if err == nil {
			err = readEverything(fs)
		}
		_ = err // any error will do
	})
}

// FuzzDirBlock parses a block of a directory; names that come out must be names.
func FuzzDirBlock(f *testing.F) {
	block := make([]byte, blockSize)
	putLeaf(block, []dirent{{2, 2, "."}, {2, 2, ".."}, {12, 1, "name"}, {13, 7, "other"}}, 0)
	f.Add(block[:64])
	f.Add(block)
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := parseDirBlock(b, nil)
		if err != nil {
			return
		}
		for _, e := range entries {
			if checkName(e.Name) != nil {
				t.Errorf("name %q", e.Name)
			}
		}
	})
}

// FuzzXattrs parses an attribute area and writes what it read.
func FuzzXattrs(f *testing.F) {
	inline, block, err := encodeXattrs(map[string][]byte{
		"user.a": []byte("b"), "security.capability": make([]byte, 20), "user.large": make([]byte, 200), xattrACLAccess: aclXattr(),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(inline[4:])
	f.Add(block[xattrBlockHeader:])
	f.Fuzz(func(t *testing.T, area []byte) {
		attrs := make(map[string][]byte)
		if parseXattrs(area, 0, attrs) != nil || len(area) > blockSize {
			return
		}
		inline, block, err := encodeXattrs(attrs)
		if err != nil {
			return // more than we write, or an odd name
		}
		again := make(map[string][]byte)
		if inline != nil {
			err = parseXattrs(inline[4:], 0, again)
		}
		if err == nil && block != nil {
			err = parseXattrs(block, xattrBlockHeader, again)
		}
		if err != nil || !maps.EqualFunc(attrs, again, slices.Equal[[]byte]) {
			t.Errorf("%v became %v, %v", attrs, again, err)
		}
	})
}

// FuzzDirRoundTrip builds directories of arbitrary names and reads them back.
func FuzzDirRoundTrip(f *testing.F) {
	f.Add([]byte("a b cc ddd"), uint16(1))
	f.Add([]byte("name"), uint16(900))
	f.Fuzz(func(t *testing.T, names []byte, copies uint16) {
		want := make(map[string]bool)
		root := dir()
		for _, name := range bytes.Fields(names) {
			for i := range int(copies)%2000 + 1 {
				n := string(binary.AppendUvarint(bytes.Clone(name), uint64(i)))
				if checkName(n) == nil {
					root.Children[n], want[n] = file(Data{}), true
				}
			}
		}
		var image memory
		if err := NewWriter(&image, testOptions).Finish(t.Context(), root); err != nil {
			t.Fatal(err)
		}
		fs, err := NewReader(bytes.NewReader(image.b), int64(len(image.b)))
		if err != nil {
			t.Fatal(err)
		}
		entries, err := fs.ReadDir(lookup(t, fs, "/"))
		if err != nil || len(entries) != len(want) {
			t.Fatalf("%d of %d entries, %v", len(entries), len(want), err)
		}
		for _, e := range entries {
			if !want[e.Name] {
				t.Errorf("unknown name %q", e.Name)
			}
		}
	})
}
