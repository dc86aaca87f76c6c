package standby

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// aboutName is in the directory of a shape, written by its holder when copies can be had.
const aboutName = "about.json"

// Standing is a VM that stands by.
type Standing struct {
	Key         string
	Description string
	Made        time.Time
	Used        time.Time
}

type about struct {
	Description string
	Made        time.Time
}

// List returns the VMs that stand by.
func (p Place) List() (list []Standing, err error) {
	entries, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() || !p.holds(e.Name()) {
			continue
		}
		path := filepath.Join(p.Dir(e.Name()), aboutName)
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it is being made, or removed
		}
		info, err := os.Stat(path)
		var a about
		if err == nil && json.Unmarshal(text, &a) == nil {
			list = append(list, Standing{Key: e.Name(), Description: a.Description, Made: a.Made, Used: info.ModTime()})
		}
	}
	return list, nil
}

// Remove ends the VM of a shape, soon. Its copies live on. It is fs.ErrNotExist if there is none.
func (p Place) Remove(key string) error {
	if !validKey(key) {
		return fs.ErrNotExist
	}
	if _, err := os.Lstat(p.Dir(key)); err != nil {
		return fs.ErrNotExist
	}
	return errors.Join(removeAll(p.Dir(key)), removeAll(p.Priming(key)))
}

// holds says whether somebody has the right to hold a VM of the shape.
func (p Place) holds(key string) bool {
	for i := range slots {
		if text, err := os.ReadFile(p.slot(i)); err == nil && string(text) == key && p.held(i) {
			return true
		}
	}
	return false
}

// announce says what stands by since when, and how many images it knows.
func (h *Holder) announce(since time.Time, images int) error {
	what := h.Description
	if images > 0 {
		what += fmt.Sprintf(", images known: %d", images)
	}
	text, err := json.Marshal(about{what, since})
	if err != nil {
		return err
	}
	// Others read it at any time. The directory is watched for what is removed there, so the new one is made beside it.
	draft := filepath.Join(h.Place.dir, aboutName+"-"+h.Key)
	if err := os.WriteFile(draft, text, 0o600); err != nil {
		return err
	}
	used := since
	path := filepath.Join(h.Place.Dir(h.Key), aboutName)
	if info, err := os.Stat(path); err == nil {
		used = info.ModTime()
	}
	if err := errors.Join(os.Chtimes(draft, used, used), os.Rename(draft, path)); err != nil {
		return errors.Join(err, os.Remove(draft))
	}
	return nil
}

// used notes that a copy was asked for.
func (h *Holder) used() {
	now := time.Now()
	_ = os.Chtimes(filepath.Join(h.Place.Dir(h.Key), aboutName), now, now) // it is for people
}
