package kernel

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// toyMakefile stands for a kernel tree: it grants every requested option but CONFIG_UNKNOWN, and "compiles" the
// configuration itself. Each compilation leaves a line in $(COUNTER).
const toyMakefile = `
allnoconfig:
	@grep -v CONFIG_UNKNOWN $(KCONFIG_ALLCONFIG) > $(O)/.config
vmlinux:
	@test -z "$(BROKEN)" || { echo "error: cannot compile" ; exit 1 ; }
	@echo built >> $(COUNTER)
	@mkdir -p $(O)/include/config && echo 6.1.0-toy > $(O)/include/config/kernel.release
	@cp /bin/true $(O)/vmlinux
.PHONY: allnoconfig vmlinux
`

// workshop is a copy of this directory's build rule with a toy kernel source and an empty cache.
type workshop struct {
	t                               *testing.T
	dir, source, cache, out, counts string
	environment                     []string
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	root := t.TempDir()
	w := &workshop{
		t: t, dir: filepath.Join(root, "kernel"), source: filepath.Join(root, "source"),
		cache: filepath.Join(root, "cache"), out: filepath.Join(root, "out"), counts: filepath.Join(root, "counts"),
	}
	w.environment = append(os.Environ(), "VZCTL_KERNEL_CACHE="+w.cache, "KERNEL_SRC="+w.source, "COUNTER="+w.counts)
	for _, name := range []string{"build.sh", "config/common.config", "config/x86_64.config", "config/x86_64.cmdline"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		w.write(filepath.Join(w.dir, name), string(text))
	}
	w.write(filepath.Join(w.source, "Kconfig"), "")
	w.write(filepath.Join(w.source, "Makefile"), toyMakefile)
	w.write(filepath.Join(w.source, "kernel/configs/tiny-base.config"), "CONFIG_EMBEDDED=y\n")
	return w
}

func (w *workshop) write(path, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		w.t.Fatal(err)
	}
}

// build runs the rule as make would, for x86_64 whatever this machine is (the toy compiles nothing).
func (w *workshop) build(args ...string) (stdout, stderr string, err error) {
	w.t.Helper()
	cmd := exec.Command("sh", append([]string{filepath.Join(w.dir, "build.sh"), "--arch", "x86_64", "--out", w.out}, args...)...)
	cmd.Env = append(w.environment, "CROSS_COMPILE=")
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err = cmd.Run()
	return strings.TrimSpace(out.String()), problems.String(), err
}

func (w *workshop) mustBuild(args ...string) string {
	w.t.Helper()
	stdout, stderr, err := w.build(args...)
	if err != nil {
		w.t.Fatalf("build.sh %v: %v\n%s", args, err, stderr)
	}
	return stdout
}

func (w *workshop) compilations() int {
	text, err := os.ReadFile(w.counts)
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	return strings.Count(string(text), "built")
}

func TestBuildDescribesTheKernelItLeaves(t *testing.T) {
	w := newWorkshop(t)
	path := w.mustBuild()
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(w.out, "x86_64", "kernel.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("kernel.json: %v\n%s", err, text)
	}
	sum := sha256.Sum256(image)
	want := map[string]string{
		"name": "vzctl", "version": "6.1.0-toy", "arch": "x86_64", "format": "elf-pvh", "path": filepath.Base(path),
		"sha256": hex.EncodeToString(sum[:]), "cmdline": got["cmdline"], "configHash": got["configHash"],
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("kernel.json says %s is %q, want %q", key, got[key], value)
		}
	}
	if !strings.Contains(got["cmdline"], "panic=-1") || len(got["configHash"]) != 64 || len(got) != len(want) {
		t.Errorf("kernel.json lacks the command line or the configuration's hash, or has more than documented: %s", text)
	}
}

func TestBuildCachesByConfigurationAndSource(t *testing.T) {
	w := newWorkshop(t)
	steps := []struct {
		name   string
		change func()
		builds int
	}{
		{"the first build compiles", func() {}, 1},
		{"the second takes it from the cache", func() {}, 1},
		{"another output directory is filled from the cache", func() { w.out += "-2" }, 1},
		{"a changed common fragment compiles again", func() { w.appendTo("config/common.config", "CONFIG_NFS_FS=y\n") }, 2},
		{"a changed fragment of the architecture compiles again", func() { w.appendTo("config/x86_64.config", "CONFIG_X86_SGX=y\n") }, 3},
		{"a changed command line does not", func() { w.appendTo("config/x86_64.cmdline", "debug\n") }, 3},
		{"a changed source compiles again", func() { w.write(filepath.Join(w.source, "fs/new.c"), "int new;\n") }, 4},
	}
	for _, step := range steps {
		step.change()
		w.mustBuild()
		if got := w.compilations(); got != step.builds {
			t.Fatalf("%s: %d compilations so far, want %d", step.name, got, step.builds)
		}
	}
}

func (w *workshop) appendTo(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	old, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(path, string(old)+text)
}

func TestTwoBuildsAtOnceCompileOnce(t *testing.T) {
	w := newWorkshop(t)
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if _, stderr, err := w.build(); err != nil {
				t.Errorf("build: %v\n%s", err, stderr)
			}
		})
	}
	group.Wait()
	if got := w.compilations(); got != 1 {
		t.Errorf("%d compilations, want 1", got)
	}
}

func TestBuildRefuses(t *testing.T) {
	cases := []struct {
		name    string
		prepare func(*workshop)
		args    []string
		message string
	}{
		{"an option the source does not grant, by name",
			func(w *workshop) { w.appendTo("config/common.config", "CONFIG_UNKNOWN=y\n") }, nil, "CONFIG_UNKNOWN=y, but it is off or unknown"},
		{"an option that is on though asked to be off",
			func(w *workshop) {
				w.write(filepath.Join(w.source, "kernel/configs/tiny-base.config"), "CONFIG_SELECTED=y\n")
				w.appendTo("config/common.config", "# CONFIG_SELECTED is not set\n")
			}, nil, "CONFIG_SELECTED off, but it is CONFIG_SELECTED=y"},
		{"a source that does not exist",
			func(*workshop) {}, []string{"--source", "/nonexistent/linux.tar.xz"}, `kernel source "/nonexistent/linux.tar.xz" does not exist`},
		{"a directory that is no kernel source",
			func(*workshop) {}, []string{"--source", "/dev"}, `"/dev" is not a kernel source tree`},
		{"an architecture without a configuration",
			func(*workshop) {}, []string{"--arch", "riscv64"}, `no configuration for architecture "riscv64"`},
		{"a source that does not compile, with the compiler's words",
			func(w *workshop) { w.environment = append(w.environment, "BROKEN=yes") }, nil, "error: cannot compile"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorkshop(t)
			c.prepare(w)
			stdout, stderr, err := w.build(c.args...)
			if err == nil || stdout != "" {
				t.Fatalf("build succeeded with %q", stdout)
			}
			if !strings.Contains(stderr, c.message) {
				t.Errorf("the error does not say %q:\n%s", c.message, stderr)
			}
			if _, err := os.Stat(filepath.Join(w.out, "x86_64", "kernel.json")); !os.IsNotExist(err) {
				t.Errorf("a failed build left a kernel: %v", err)
			}
		})
	}
}

// pack makes the source a tarball.
func (w *workshop) pack() {
	w.t.Helper()
	tarball := w.source + ".tar"
	if out, err := exec.Command("tar", "-cf", tarball, "-C", filepath.Dir(w.source), filepath.Base(w.source)).CombinedOutput(); err != nil {
		w.t.Fatalf("tar: %v\n%s", err, out)
	}
	w.environment = append(w.environment, "KERNEL_SRC="+tarball)
}

func toyPatch(option string) string {
	return "Why it is there\n\n--- a/kernel/configs/tiny-base.config\n+++ b/kernel/configs/tiny-base.config\n@@ -1 +1,2 @@\n CONFIG_EMBEDDED=y\n+" + option + "=y\n"
}

func TestBuildPatchesWhatItUnpacks(t *testing.T) {
	w := newWorkshop(t)
	first, second := filepath.Join(w.dir, "patches/0001-first.patch"), filepath.Join(w.dir, "patches/0002-second.patch")
	w.write(first, toyPatch("CONFIG_FIRST"))
	w.appendTo("config/common.config", "# CONFIG_FIRST is not set\n") // which the build notices if the patch is applied
	w.mustBuild()                                                     // a tree is somebody's
	w.pack()
	if _, stderr, err := w.build(); err == nil || !strings.Contains(stderr, "CONFIG_FIRST off, but it is CONFIG_FIRST=y") {
		t.Fatalf("the first patch is not applied: %v\n%s", err, stderr)
	}
	w.write(first, toyPatch("CONFIG_OTHER"))
	w.mustBuild()
	before := w.compilations()
	if w.mustBuild(); w.compilations() != before {
		t.Error("nothing has changed, and it compiles again")
	}
	w.write(second, strings.Replace(toyPatch("CONFIG_SECOND"), "@@ -1 +1,2 @@\n CONFIG_EMBEDDED=y\n", "@@ -1,2 +1,3 @@\n CONFIG_EMBEDDED=y\n CONFIG_OTHER=y\n", 1))
	if w.mustBuild(); w.compilations() != before+1 {
		t.Error("a patch was added, and it does not compile")
	}
	w.write(second, strings.ReplaceAll(toyPatch("CONFIG_THIRD"), "tiny-base", "absent"))
	if _, stderr, err := w.build(); err == nil || !strings.Contains(stderr, "0002-second.patch does not fit") {
		t.Errorf("a patch that does not fit gives %v\n%s", err, stderr)
	}
}
