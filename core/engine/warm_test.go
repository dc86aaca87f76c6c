package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// machines is a hypervisor whose VMs do nothing. It keeps templates as files below its cache, one for each memory size.
type machines struct{ spec hypervisor.Spec }

func (m *machines) vm(state hypervisor.State) hypervisor.VM {
	return hypervisor.VM{ID: m.spec.ID, State: state, VsockPath: filepath.Join(m.spec.RuntimeDir, "vsock"), Cloned: state == hypervisor.Running && !told("boots")}
}

func (m *machines) Create(_ context.Context, _ string, spec hypervisor.Spec) (hypervisor.VM, error) {
	m.spec = spec
	if len(spec.Disks) != 2 || !spec.Disks[0].ReadOnly || spec.Disks[1].ReadOnly || spec.ConsolePath == "" || len(spec.NICs) != 0 {
		return hypervisor.VM{}, &fault.Error{Reason: fault.Invalid, Op: "create VM", Cause: errors.New("it is not like a container's")}
	}
	for _, disk := range spec.Disks {
		if _, err := os.Stat(disk.File.Path); err != nil {
			return hypervisor.VM{}, err
		}
	}
	return m.vm(hypervisor.Created), nil
}

func (m *machines) Start(context.Context, string) (hypervisor.VM, error) {
	if told("start-fails") {
		return hypervisor.VM{}, errTold
	}
	dir := filepath.Join(m.spec.CacheDir, "templates")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return hypervisor.VM{}, err
	}
	return m.vm(hypervisor.Running), os.WriteFile(filepath.Join(dir, "t1"), nil, 0o600)
}

func (m *machines) Stop(context.Context, string, hypervisor.StopMode) (hypervisor.VM, error) {
	return m.vm(hypervisor.Stopped), nil
}
func (m *machines) Delete(context.Context, string, string) error { return nil }
func (m *machines) Get(context.Context, string) (hypervisor.VM, error) {
	return hypervisor.VM{}, errTold
}
func (m *machines) List(context.Context) ([]hypervisor.VM, error)            { return nil, nil }
func (m *machines) Watch(context.Context, string, func(hypervisor.VM)) error { return errTold }
func (m *machines) RemoveTemplate(context.Context, string, string) error     { return errTold }

func (m *machines) Templates(_ context.Context, cacheDir string) ([]hypervisor.Template, error) {
	list := []hypervisor.Template{{ID: "old", Used: time.Unix(1, 0), Made: time.Unix(1, 0)}}
	if info, err := os.Stat(filepath.Join(cacheDir, "templates", "t1")); err == nil {
		list = append(list, hypervisor.Template{ID: "t1", Made: info.ModTime(), Used: time.Now()})
	}
	return list, nil
}

func (m *machines) VerifyTemplate(_ context.Context, cacheDir, id string) (hypervisor.VerifiedTemplate, error) {
	switch {
	case id == "old" && told("verify-late"):
		return hypervisor.VerifiedTemplate{}, &fault.Error{Reason: fault.NotFound, Op: "verify template", Subject: id}
	case id == "old" && told("rotten"):
		return hypervisor.VerifiedTemplate{Damage: "rotten", Compared: true}, nil
	}
	return hypervisor.VerifiedTemplate{}, errors.Join(os.MkdirAll(cacheDir, 0o700), os.WriteFile(filepath.Join(cacheDir, "verified-"+id), nil, 0o600))
}

func TestWarmMakesATemplateKeepsItAndLeavesNothingElse(t *testing.T) {
	e := newEngine(t)
	t.Setenv(script, "templates")
	killed := filepath.Join(e.store.Paths().SandboxRun(warmID), "image") // of a command that was killed
	if err := errors.Join(os.MkdirAll(filepath.Dir(killed), 0o700), os.WriteFile(killed, nil, 0o400)); err != nil {
		t.Fatal(err)
	}
	made, err := e.WarmTemplate(t.Context(), CreateRequest{Platform: "linux/amd64", Network: NoNetwork}, nil)
	if err != nil || made.ID != "t1" {
		t.Fatalf("made %+v, %v", made, err)
	}
	cache := e.store.Paths().Cache("qemu-hypervisor")
	if _, err := os.Stat(filepath.Join(cache, "verified-t1")); err != nil {
		t.Errorf("it is not on the disk: %v", err)
	}
	if _, err := os.Stat(filepath.Join(cache, "verified-old")); err == nil {
		t.Error("another template was read as well")
	}
	nothingLeft(t, e)
	if _, err := os.Stat(e.store.Paths().SandboxRun(warmID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its runtime directory: %v", err)
	}
}

func TestWarmSaysWhyThereIsNoTemplate(t *testing.T) {
	for words, says := range map[string]string{"": "keeps none", "templates boots": "has booted the VM instead", "templates start-fails": errTold.Error()} {
		e := newEngine(t)
		t.Setenv(script, words)
		_, err := e.WarmTemplate(t.Context(), CreateRequest{Platform: "linux/amd64", Network: NoNetwork}, nil)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v; should say %q", words, err, says)
		}
		nothingLeft(t, e)
	}
}

func TestVerifyReadsEachTemplate(t *testing.T) {
	e := newEngine(t)
	for words, damage := range map[string][]string{"templates": {""}, "templates rotten": {"rotten"}, "templates verify-late": nil} {
		t.Setenv(script, words)
		list, err := e.VerifyTemplates(t.Context())
		if err != nil || len(list) != len(damage) {
			t.Errorf("%s: %+v, %v", words, list, err)
			continue
		}
		for i, v := range list {
			if v.ID != "old" || v.Damage != damage[i] {
				t.Errorf("%s: %+v", words, v)
			}
		}
	}
}
