package standby

import (
	"bytes"
	"context"
	"errors"
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

func TestALayerIsChangedOnlyIfItIsAsItWasMade(t *testing.T) {
	fresh := &Fresh{Index: 1, Serial: "layer", FileSystem: "ext4"}
	c, err := contentsOf(layerFile(t, layerSize, asMade))
	if err != nil {
		t.Fatal(err)
	}
	layer := &Layer{*fresh, c}
	m, err := layer.Changed(Primed{}, layerFile(t, layerSize, map[int64]byte{0: 'A', 1: 'b', 7: 'D'})) // and the last block is zeros now
	if err != nil {
		t.Fatal(err)
	}
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
		want   string
		fits   bool
	}{
		"as it was made":                 {fresh, layerSize, asMade, nil, "AbD-", true},
		"with a block of zeros more":     {fresh, layerSize, map[int64]byte{0: 'a', 1: 'b', 9: 0, 5000: 'c'}, nil, "AbD-", true},
		"nobody says that it is":         {nil, layerSize, asMade, nil, "ab-c", false},
		"another disk":                   {&Fresh{Index: 2, Serial: "layer", FileSystem: "ext4"}, layerSize, asMade, nil, "ab-c", false},
		"another file system":            {&Fresh{Index: 1, Serial: "layer", FileSystem: "erofs"}, layerSize, asMade, nil, "ab-c", false},
		"larger":                         {fresh, 2 * layerSize, asMade, nil, "ab-c", false},
		"smaller":                        {fresh, layerSize / 2, asMade, nil, "ab-c", false},
		"a block differs":                {fresh, layerSize, map[int64]byte{0: 'a', 1: 'b', 5000: 'x'}, nil, "ab-x", false},
		"a block more":                   {fresh, layerSize, map[int64]byte{0: 'a', 1: 'b', 5000: 'c', 9000: 'x'}, nil, "ab-c", false},
		"a block less":                   {fresh, layerSize, map[int64]byte{0: 'a', 1: 'b'}, nil, "ab--", false},
		"it was mounted before":          {fresh, layerSize, map[int64]byte{0: 'A', 1: 'b', 7: 'D'}, nil, "AbD-", false},
		"it holds more than is read":     {fresh, layerSize, wide('a', maxLayer/blockSize+1), nil, "aaaa"[:3] + "-", false},
		"another VM uses it":             {fresh, layerSize, asMade, lock, "ab-c", false},
		"it is cut short while compared": {fresh, layerSize, asMade, func(f *os.File) { _ = f.Truncate(blockSize) }, "a---"[:1], false},
	} {
		t.Run(name, func(t *testing.T) {
			file := layerFile(t, test.size, test.blocks)
			if test.before != nil {
				test.before(file)
			}
			fits, err := m.fits(test.fresh, file)
			if err != nil || fits != test.fits {
				t.Errorf("it fits: %v, %v", fits, err)
			}
			if got := filled(t, file, []int64{0, 1, 7, 5000}[:len(test.want)]...); got != test.want {
				t.Errorf("it holds %q; want %q", got, test.want)
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

func TestALayerThatCannotBeChangedIsAsItWas(t *testing.T) {
	c, err := contentsOf(layerFile(t, layerSize, asMade))
	if err != nil {
		t.Fatal(err)
	}
	m := &Mounted{layer: &Layer{Fresh{}, c}, changed: map[int64][]byte{0: bytes.Repeat([]byte{'A'}, blockSize), -1: nil}} // there is no such block
	for range 20 {                                                                                                        // in any order
		file := layerFile(t, layerSize, asMade)
		if fits, err := m.fits(&Fresh{}, file); fits || err == nil || filled(t, file, 0, 1, 5000) != "abc" {
			t.Fatalf("it fits: %v, %v; it holds %q", fits, err, filled(t, file, 0, 1, 5000))
		}
	}
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
	if err := (&Layer{Fresh{}, c}).Write(file); err != nil {
		t.Fatal(err)
	}
	if again, err := contentsOf(file); err != nil || !again.equal(c) {
		t.Errorf("it is another, %v", err)
	}
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
	ask := func(name string, fresh *Fresh, layer *os.File) *fork.Original {
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
	m := learn("a", layerFile(t, layerSize, asMade))
	if m.mounted == nil {
		t.Fatal("no VM has mounted a layer")
	}
	for name, test := range map[string]struct {
		fresh *Fresh
		layer *os.File
		want  *fork.Original
	}{
		"an empty layer":   {fresh, layerFile(t, layerSize, asMade), m.mounted.Original},
		"another":          {fresh, layerFile(t, layerSize, map[int64]byte{0: 'z'}), m.primed.Original},
		"none":             {nil, layerFile(t, layerSize, asMade), m.primed.Original},
		"on no such disk":  {&Fresh{Index: 2}, layerFile(t, layerSize, asMade), m.primed.Original},
		"on no such disk,": {&Fresh{Index: -1}, layerFile(t, layerSize, asMade), m.primed.Original},
	} {
		if ask("a", test.fresh, test.layer) != test.want {
			t.Errorf("%s: it is not the VM that it should be", name)
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
	if m := learn("b", layerFile(t, layerSize/2, asMade)); m.primed == nil || m.mounted != nil || mounts != 1 {
		t.Error("a layer is mounted of a size that the guest does not know the disk by")
	}
	fail = errors.New("no")
	p.forget(p.images[len(p.images)-1])
	if m := learn("c", layerFile(t, layerSize, asMade)); m.primed == nil || m.mounted != nil || mounts != 2 || !p.noted() {
		t.Error("that the layer could not be mounted is not noted, or the image is not known")
	}
}
