package launch

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
)

// FileID is the same for a file that has not changed: whoever writes to it changes its ctime.
type FileID struct {
	Device, Inode     uint64
	Size              int64
	Modified, Changed int64 // nanoseconds since 1970
}

// SumCache remembers SHA-256 digests, in hex, of unchanged files. It must be written by the owner alone, and be safe for concurrent use.
type SumCache interface {
	Get(FileID) (sum string, ok bool)
	Put(id FileID, sum string)
}

// MemorySums is a SumCache for the life of a process.
type MemorySums struct {
	mu   sync.Mutex
	sums map[FileID]string
}

// Get implements SumCache.
func (m *MemorySums) Get(id FileID) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum, ok := m.sums[id]
	return sum, ok
}

// Put implements SumCache.
func (m *MemorySums) Put(id FileID, sum string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sums == nil {
		m.sums = map[FileID]string{}
	}
	m.sums[id] = sum
}

func sha256Of(path string, cache SumCache) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	before, err := idOf(f)
	if err != nil {
		return "", err
	}
	if cache != nil {
		if sum, ok := cache.Get(before); ok {
			return sum, nil
		}
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if after, err := idOf(f); err != nil || after != before {
		return "", fmt.Errorf("%q changed while it was read", path)
	}
	if cache != nil {
		cache.Put(before, sum)
	}
	return sum, nil
}

func idOf(f *os.File) (FileID, error) {
	info, err := f.Stat()
	if err != nil {
		return FileID{}, err
	}
	if !info.Mode().IsRegular() {
		return FileID{}, fmt.Errorf("%q is no regular file", f.Name())
	}
	stat := info.Sys().(*syscall.Stat_t)
	return FileID{
		Device: uint64(stat.Dev), Inode: stat.Ino, Size: stat.Size,
		Modified: info.ModTime().UnixNano(), Changed: changed(stat),
	}, nil
}
