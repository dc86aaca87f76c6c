package cgroup

import "testing"

func TestWhatIsUndoneOfADiskIsWhatItHad(t *testing.T) {
	const before = "254:16 rbps=max wbps=1048576 riops=max wiops=max\n254:160 rbps=7 wbps=max riops=max wiops=max"
	for device, want := range map[string]string{
		"254:16":  "254:16 rbps=max wbps=1048576 riops=max wiops=max",
		"254:160": "254:160 rbps=7 wbps=max riops=max wiops=max",
		"254:1":   "254:1 rbps=max wbps=max riops=max wiops=max",
	} {
		changed := setting{ioFile, rateLine(device, Rates{ReadBytes: 5, WriteOperations: 1 << 40})}
		if changed.value != device+" rbps=5 wbps=max riops=max wiops=4294967295" {
			t.Errorf("a limit is %q", changed.value)
		}
		if undo := changed.undoing(before); undo.file != ioFile || undo.value != want {
			t.Errorf("undoing gives %+v, want %q", undo, want)
		}
	}
	if undo := (setting{"pids.max", "7"}).undoing("max"); undo != (setting{"pids.max", "max"}) {
		t.Errorf("undoing gives %+v", undo)
	}
}

func TestADeviceThatIsNoDiskHasNoLimit(t *testing.T) {
	for _, path := range []string{"/dev/null", t.TempDir(), "/dev/there-is-none"} {
		if settings, err := ioLimits([]IOLimit{{Device: path}}); err == nil {
			t.Errorf("%s gives %v", path, settings)
		}
	}
}
