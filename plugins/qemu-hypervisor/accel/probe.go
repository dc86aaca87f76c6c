package accel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	kvmDevice = "/dev/kvm"
	// probeDeadline bounds the child as a whole: making a VM is slow on a loaded host. The guest itself has speedDeadline.
	probeDeadline = 2 * time.Second
	speedDeadline = 100 * time.Millisecond
	// recipe is part of what is remembered, and changes with the probe.
	recipe = 1
)

// memory is what was found out since the machine was booted, kept in the user's cache directory.
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

// openMemory returns what is remembered of this boot and this device; nothing, if anything is different.
func openMemory() *memory {
	now := known{Boot: bootID(), Device: deviceID(), Recipe: recipe}
	m := &memory{known: now}
	cache, err := os.UserCacheDir()
	if err != nil || now.Boot == "" {
		return m
	}
	m.path = filepath.Join(cache, "vzctl", "accelerator.json")
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
	if err != nil || os.MkdirAll(filepath.Dir(m.path), 0o700) != nil {
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

func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
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
