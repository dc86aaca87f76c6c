package accel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/sdk/bootid"
)

const (
	kvmDevice = "/dev/kvm"
	// probeDeadline bounds the child as a whole: making a VM is slow on a loaded host. The guest itself has speedDeadline.
	probeDeadline = 2 * time.Second
	speedDeadline = 100 * time.Millisecond
	// recipe is part of what is remembered, and changes with the probe.
	recipe = 2
)

// memory is what was found out since the machine was booted.
type memory struct {
	path string // "" if there is nowhere to keep it
	known
}

type known struct {
	Boot   string   `json:"boot"`
	Device string   `json:"device"`
	Recipe int      `json:"recipe"`
	KVM    *Verdict `json:"kvm,omitempty"`
	TSC    *uint64  `json:"tscKilohertz,omitempty"`
}

// memoryDir returns a directory of this user that does not outlive the boot, or "". It is not the plugin's TMPDIR, which ends with the plugin.
func memoryDir() string {
	uid := os.Getuid()
	candidates := []string{fmt.Sprintf("/run/user/%d/vzctl", uid), fmt.Sprintf("/tmp/vzctl-%d", uid)}
	if uid == 0 {
		candidates[0] = "/run/vzctl"
	}
	for _, dir := range candidates {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			continue
		}
		info, err := os.Lstat(dir) // somebody else may have made it, to make us believe things
		if err != nil || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) == uid {
			return dir
		}
	}
	return ""
}

// openMemory returns what is remembered in dir of this boot and this device; nothing, if anything is different.
func openMemory(dir string) *memory {
	boot, _ := bootid.Read() // without it, nothing is remembered
	now := known{Boot: boot, Device: deviceID(), Recipe: recipe}
	m := &memory{known: now}
	if dir == "" || now.Boot == "" {
		return m
	}
	m.path = filepath.Join(dir, "accelerator.json")
	text, err := os.ReadFile(m.path)
	if err != nil {
		return m
	}
	var before known
	if json.Unmarshal(text, &before) == nil && before.Boot == now.Boot && before.Device == now.Device && before.Recipe == recipe {
		m.known = before
	}
	return m
}

// save keeps what is known, if it can: it can be found out again.
func (m *memory) save() {
	if m.path == "" {
		return
	}
	text, err := json.Marshal(m.known)
	if err != nil {
		return
	}
	file, err := os.CreateTemp(filepath.Dir(m.path), ".accelerator-*")
	if err != nil {
		return
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), m.path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
}

// kvm says whether KVM can be used. Whether the device opens is asked each time, as the user may have been added to its group; its speed once.
func (m *memory) kvm(ctx context.Context, probe []string) Verdict {
	file, err := os.OpenFile(kvmDevice, os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return Verdict{Reason: "there is no " + kvmDevice}
	case errors.Is(err, os.ErrPermission):
		return Verdict{Reason: kvmDevice + " may not be opened by this user; to use it, join its group: sudo usermod -aG kvm $USER, then log in again"}
	case err != nil:
		return Verdict{Reason: err.Error()}
	}
	_ = file.Close()
	if m.KVM == nil {
		verdict, certain := runProbe(ctx, probe)
		if !certain {
			return verdict
		}
		m.KVM = &verdict
		m.save()
	}
	return *m.KVM
}

// runProbe asks a child process, which can be killed whatever KVM does to it. An answer that is not certain is not remembered.
func runProbe(caller context.Context, probe []string) (verdict Verdict, certain bool) {
	ctx, cancel := context.WithTimeout(caller, probeDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, probe[0], probe[1:]...)
	cmd.WaitDelay = 100 * time.Millisecond // it may not even die
	output, err := cmd.Output()
	if ctx.Err() != nil {
		return Verdict{Reason: fmt.Sprintf("the KVM probe did not end within %v", probeDeadline)}, caller.Err() == nil
	}
	if err != nil || json.Unmarshal(output, &verdict) != nil {
		return Verdict{Reason: fmt.Sprintf("the KVM probe failed: %v", err)}, false
	}
	return verdict, true
}

// Probe is what the child process does: it prints a Verdict.
func Probe() {
	if err := json.NewEncoder(os.Stdout).Encode(probeKVM()); err != nil {
		os.Exit(1)
	}
}

// deviceID tells one /dev/kvm from another, as a container may be given.
func deviceID() string {
	info, err := os.Stat(kvmDevice)
	if err != nil {
		return ""
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%x-%x-%x", stat.Dev, stat.Rdev, stat.Ino)
	}
	return ""
}
