package standby

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
)

const layerSize = 64 << 20

// layerFile makes a layer of some blocks, each of one byte.
func layerFile(t *testing.T, size int64, blocks map[int64]byte) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "layer"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for number, fill := range blocks {
		if _, err := file.WriteAt(bytes.Repeat([]byte{fill}, blockSize), number*blockSize); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// filled tells what is in some blocks.
func filled(t *testing.T, file *os.File, numbers ...int64) (fills string) {
	t.Helper()
	for _, number := range numbers {
		var one [1]byte
		if _, err := file.ReadAt(one[:], number*blockSize+blockSize-1); err != nil {
			t.Fatal(err)
		}
		if one[0] == 0 {
			one[0] = '-'
		}
		fills += string(one[:])
	}
	return fills
}

var asMade = map[int64]byte{0: 'a', 1: 'b', 5000: 'c'}

// mountedFrom returns a VM that has mounted a layer of the blocks asMade, and changed these.
func mountedFrom(t *testing.T, fresh Fresh, size int64, changed map[int64]byte) *Mounted {
	t.Helper()
	c, err := contentsOf(layerFile(t, size, asMade))
	if err != nil {
		t.Fatal(err)
	}
	m, err := (&Layer{fresh, c, nil}).Changed(Primed{}, layerFile(t, size, changed))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.change.Close() })
	return m
}

func TestALayerIsTakenOnlyIfItIsAsItWasMade(t *testing.T) {
	fresh := &Fresh{Index: 1, Serial: "layer", FileSystem: "ext4"}
	m := mountedFrom(t, *fresh, layerSize, map[int64]byte{0: 'A', 1: 'b', 7: 'D'}) // and the last block is zeros now
	lock := func(file *os.File) {
		other, err := os.Open(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = other.Close() })
		if err := unix.FcntlFlock(other.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: 101, Len: 1}); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		fresh  *Fresh
		size   int64
		blocks map[int64]byte
		before func(*os.File)
		fits   bool
	}{
		"as it was made":             {fresh, layerSize, asMade, nil, true},
		"with a block of zeros more": {fresh, layerSize, map[int64]byte{0: 'a', 1: 'b', 9: 0, 5000: 'c'}, nil, true},
		"nobody says that it is":     {nil, layerSize, asMade, nil, false},
		"another disk":               {&Fresh{Index: 2, Serial: "layer", FileSystem: "ext4"}, layerSize, asMade, nil, false},
		"another file system":        {&Fresh{Index: 1, Serial: "layer", FileSystem: "erofs"}, layerSize, asMade, nil, false},
		"larger":                     {fresh, 2 * layerSize, asMade, nil, false},
		"smaller":                    {fresh, layerSize / 2, asMade, nil, false},
		"a block differs":            {fresh, layerSize, map[int64]byte{0: 'a', 1: 'b', 5000: 'x'}, nil, false},
		"a block more":               {fresh, layerSize, map[int64]byte{0: 'a', 1: 'b', 5000: 'c', 9000: 'x'}, nil, false},
		"a block less":               {fresh, layerSize, map[int64]byte{0: 'a', 1: 'b'}, nil, false},
		"it was mounted before":      {fresh, layerSize, map[int64]byte{0: 'A', 1: 'b', 7: 'D'}, nil, false},
		"it holds more than is read": {fresh, layerSize, wide('a', maxLayer/blockSize+1), nil, false},
		"another VM uses it":         {fresh, layerSize, asMade, lock, false},
	} {
		t.Run(name, func(t *testing.T) {
			file := layerFile(t, test.size, test.blocks)
			if test.before != nil {
				test.before(file)
			}
			if fits := m.fits(test.fresh, file); fits != test.fits {
				t.Errorf("it fits: %v", fits)
			}
			if now, err := contentsOf(file); err == nil && !now.equal(must(t, layerFile(t, test.size, test.blocks))) {
				t.Error("who only asks has it changed")
			}
		})
	}
}

func must(t *testing.T, file *os.File) contents {
	t.Helper()
	c, err := contentsOf(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestALayerIsChangedByWhoAsks(t *testing.T) {
	m := mountedFrom(t, Fresh{}, layerSize, map[int64]byte{0: 'A', 1: 'b', 7: 'D'})
	settle := func(file *os.File) error {
		change, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", m.change.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		return (&Copy{change: change}).Settle(Files{Disks: []*os.File{file}, Fresh: &Fresh{}})
	}
	file := layerFile(t, layerSize, asMade)
	if err := settle(file); err != nil || filled(t, file, 0, 1, 7, 5000) != "AbD-" {
		t.Errorf("%v; it holds %q", err, filled(t, file, 0, 1, 7, 5000))
	}
	if err := settle(file); err == nil || filled(t, file, 0, 1, 7, 5000) != "AbD-" {
		t.Errorf("one that is not as it was made any more: %v", err)
	}
	if _, err := m.change.WriteAt([]byte("x"), 0); err == nil {
		t.Error("who asks can change what others are told")
	}
}

func TestAChangeThatIsDamagedIsNone(t *testing.T) {
	m := mountedFrom(t, Fresh{}, layerSize, map[int64]byte{0: 'A'})
	whole, err := io.ReadAll(io.NewSectionReader(m.change, 0, maxFileSize))
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"empty":                  func([]byte) []byte { return nil },
		"cut in its head":        func(b []byte) []byte { return b[:headSize-1] },
		"cut in a block":         func(b []byte) []byte { return b[:len(b)-1] },
		"longer than it says":    func(b []byte) []byte { return append(b, 0) },
		"so many that they wrap": func(b []byte) []byte { binary.LittleEndian.PutUint64(b[8:], 1<<63-1); return b },
		"a block beyond its end": func(b []byte) []byte {
			binary.LittleEndian.PutUint64(b[len(b)-entrySize:], layerSize/blockSize)
			return b
		},
		"fewer than none": func(b []byte) []byte { binary.LittleEndian.PutUint64(b[16:], 1<<63); return b },
	} {
		t.Run(name, func(t *testing.T) {
			file := layerFile(t, 0, nil)
			if _, err := file.Write(damage(bytes.Clone(whole))); err != nil {
				t.Fatal(err)
			}
			if c, err := readChange(file); err == nil {
				t.Errorf("%d blocks are read of it", len(c.blocks))
			}
		})
	}
}

// wide are that many blocks from the first.
func wide(fill byte, count int64) map[int64]byte {
	blocks := map[int64]byte{}
	for number := range count {
		blocks[number] = fill
	}
	return blocks
}

func TestALayerIsWrittenAsItWasRead(t *testing.T) {
	c, err := contentsOf(layerFile(t, layerSize, asMade))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if err := (&Layer{Fresh{}, c, nil}).Write(file); err != nil {
		t.Fatal(err)
	}
	if again, err := contentsOf(file); err != nil || !again.equal(c) {
		t.Errorf("it is another, %v", err)
	}
}

// empty makes a layer that looks as one that was never mounted, with a journal of four blocks.
func empty(t *testing.T, size int64) *os.File {
	file := layerFile(t, size, map[int64]byte{100: 'j'})
	sb := make([]byte, superblockSize)
	put16, put32 := binary.LittleEndian.PutUint16, binary.LittleEndian.PutUint32
	put16(sb[0x38:], ext4Magic)
	put32(sb[0x18:], logBlockSize)
	tree := sb[0x10c:]
	put16(tree, extentMagic)
	put16(tree[2:], 1)
	put16(tree[16:], 4)
	put32(tree[20:], 100)
	if _, err := file.WriteAt(sb, superblockAt); err != nil {
		t.Fatal(err)
	}
	return file
}

// Of an image that is known, who has an empty layer gets the VM that has mounted one, and others the one that has not.
func TestWhoHasAnEmptyLayerHasItMounted(t *testing.T) {
	p := newPriming(t)
	p.holder.Descriptors.Disks, p.holder.Sizes = []int{6, 7}, []int64{0, layerSize}
	mounts, fail := 0, error(nil)
	p.holder.Mount = func(_ context.Context, of *Primed, _ []Lasting, _ []*os.File, layer *Layer) (*Mounted, error) {
		if mounts++; fail != nil {
			return nil, fail
		}
		return layer.Changed(Primed{Original: &fork.Original{}, Ended: of.Ended}, layerFile(t, layerSize, map[int64]byte{0: 'A', 1: 'b', 5000: 'c'}))
	}
	fresh := &Fresh{Index: 1, Serial: "layer", FileSystem: "ext4"}
	ask := func(name string, fresh *Fresh, layer *os.File) (*fork.Original, *os.File) {
		image, err := os.OpenFile(filepath.Join(p.dir, name), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = image.Close() }()
		return p.original(t.Context(), asking{request: request{Version: version, Disks: 2, Lasting: []Lasting{{Index: 0, Serial: "rootfs0"}}, Fresh: fresh}, files: []*os.File{nil, nil, nil, nil, image, layer}})
	}
	learn := func(name string, layer *os.File) *image {
		for range primeAfter {
			ask(name, fresh, layer)
		}
		p.quietness()
		return p.images[len(p.images)-1]
	}
	m := learn("a", empty(t, layerSize))
	if m.mounted == nil {
		t.Fatal("no VM has mounted a layer")
	}
	for name, test := range map[string]struct {
		fresh *Fresh
		layer *os.File
		want  *fork.Original
	}{
		"an empty layer":   {fresh, empty(t, layerSize), m.mounted.Original},
		"another":          {fresh, layerFile(t, layerSize, map[int64]byte{0: 'z'}), m.primed.Original},
		"none":             {nil, empty(t, layerSize), m.primed.Original},
		"on no such disk":  {&Fresh{Index: 2}, empty(t, layerSize), m.primed.Original},
		"on no such disk,": {&Fresh{Index: -1}, empty(t, layerSize), m.primed.Original},
	} {
		if original, change := ask("a", test.fresh, test.layer); original != test.want || (change != nil) != (original == m.mounted.Original) {
			t.Errorf("%s: it is not the VM that it should be, or has not the change that it should have", name)
		}
	}
	if !p.has(m.mounted.Original) || !p.has(m.primed.Original) {
		t.Error("one of the two is not known")
	}
	p.primer.fail(m.mounted.Original, errors.New("no"))
	for range 2 {
		<-p.ended
	}
	if m.primed != nil || m.mounted != nil {
		t.Error("of a VM that failed something is left")
	}
	if m := learn("b", empty(t, layerSize/2)); m.primed == nil || m.mounted != nil || mounts != 1 {
		t.Error("a layer is mounted of a size that the guest does not know the disk by")
	}
	used := empty(t, layerSize)
	if _, err := used.WriteAt([]byte{1}, superblockAt+0x34); err != nil { // mounted once
		t.Fatal(err)
	}
	p.forget(p.images[len(p.images)-1])
	m = learn("d", used)
	if m.primed == nil || m.mounted != nil || mounts != 1 {
		t.Error("a layer that somebody has used is taken for an empty one")
	}
	if original, _ := ask("d", fresh, empty(t, layerSize)); original != m.primed.Original || p.wanted != m {
		t.Error("a layer that comes later is not wanted")
	}
	p.quietness()
	if original, change := ask("d", fresh, empty(t, layerSize)); m.mounted == nil || original != m.mounted.Original || change == nil || mounts != 2 {
		t.Error("a layer that has come later is not mounted")
	}
	fail = errors.New("no")
	p.forget(p.images[len(p.images)-1])
	if m := learn("c", empty(t, layerSize)); m.primed == nil || m.mounted != nil || mounts != 3 || !p.noted() {
		t.Error("that the layer could not be mounted is not noted, or the image is not known")
	}
}
