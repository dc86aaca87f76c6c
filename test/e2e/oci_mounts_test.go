package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func checkMounts(t *testing.T, v *validation) {
	found := v.mounts(t)
	same(t, "the root is read-only", slices.Contains(found["/"].options, "ro"), v.spec.Root.Readonly)
	// What is neither in the spec nor masked or protected is the guest's to add.
	expected := map[string]bool{"/": true, "/etc/hosts": true, "/etc/hostname": true, "/etc/resolv.conf": true}
	for _, path := range slices.Concat(v.spec.Linux.MaskedPaths, v.spec.Linux.ReadonlyPaths) {
		expected[path] = true
	}
	for _, m := range v.spec.Mounts {
		expected[m.Destination] = true
		got, ok := found[m.Destination]
		if !ok {
			t.Errorf("%s is not mounted", m.Destination)
			continue
		}
		kind := m.Type
		if kind == "cgroup" {
			kind = "cgroup2"
		}
		same(t, m.Destination+": file system", got.kind, kind)
		checkMountOptions(t, v, m.Destination, m.Options, got)
	}
	for _, path := range sorted(found) {
		if !expected[path] {
			t.Errorf("%s is mounted, of which the spec says nothing", path)
		}
	}
}

// checkMountOptions takes later options over earlier ones, as mount(8) does.
func checkMountOptions(t *testing.T, v *validation, at string, options []string, got mount) {
	t.Helper()
	flags := map[string]bool{"ro": false, "nosuid": false, "nodev": false, "noexec": false, "noatime": false, "relatime": true}
	for _, option := range options {
		key, value, hasValue := strings.Cut(option, "=")
		opposite := map[string]string{"rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "strictatime": "relatime"}[key]
		_, isFlag := flags[key]
		switch {
		case opposite != "":
			flags[opposite] = false
		case isFlag:
			flags[key] = true
		case !hasValue: // such as newinstance, which all are
		case key == "mode":
			if at != "/dev/pts" { // there it is of terminals
				same(t, at+": mode", strings.TrimLeft(v.fact("mode:"+at), "0"), strings.TrimLeft(value, "0"))
			}
		case key == "size":
			same(t, at+": size", sizeOf(t, optionValue(got.super, key)), sizeOf(t, value))
		case key == "uid" || key == "gid": // of which the kernel tells the machine's
			id, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				t.Errorf("%s: %s", at, option)
			}
			same(t, at+": "+key, optionValue(got.super, key), fmt.Sprint(v.outside(key, uint32(id))))
		default:
			same(t, at+": "+key, strings.TrimLeft(optionValue(got.super, key), "0"), strings.TrimLeft(value, "0"))
		}
	}
	for flag, want := range flags {
		same(t, at+": "+flag, slices.Contains(got.options, flag), want)
	}
}

// outside is which id of the machine one of the container is.
func (v *validation) outside(key string, id uint32) uint32 {
	for _, m := range map[string][]specs.LinuxIDMapping{"uid": v.spec.Linux.UIDMappings, "gid": v.spec.Linux.GIDMappings}[key] {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + id - m.ContainerID
		}
	}
	return id
}

func optionValue(options []string, key string) string {
	for _, option := range options {
		if value, ok := strings.CutPrefix(option, key+"="); ok {
			return value
		}
	}
	return ""
}

// sizeOf reads 64k, 1m, or bytes.
func sizeOf(t *testing.T, text string) uint64 {
	t.Helper()
	digits := strings.TrimRight(text, "kKmMgG")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		t.Errorf("size %q", text)
	}
	return n << map[string]uint{"": 0, "k": 10, "m": 20, "g": 30}[strings.ToLower(text[len(digits):])]
}

// checkPaths sees that what is masked has nothing in it, and what is protected is read-only. Paths that this kernel does not have are neither.
func checkPaths(t *testing.T, v *validation) {
	found := v.mounts(t)
	masked, protected := 0, 0
	for _, path := range v.spec.Linux.MaskedPaths {
		if content := v.fact(path); content != "" {
			masked++
			same(t, path+": size", content, "0")
			same(t, path+": is masked", found[path].kind != "", true)
		}
	}
	for _, path := range v.spec.Linux.ReadonlyPaths {
		if v.fact(path) != "" {
			protected++
			same(t, path+": is read-only", slices.Contains(found[path].options, "ro"), true)
		}
	}
	if len(v.spec.Linux.ReadonlyPaths) > 0 && (masked < 3 || protected < 3) {
		t.Errorf("only %d of the masked paths are there, and %d of the protected ones", masked, protected)
	}
}
