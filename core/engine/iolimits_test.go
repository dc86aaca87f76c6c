package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

func TestLimitsOfDisksAreChangedOneByOne(t *testing.T) {
	mounts := []store.Mount{
		{Type: store.MountVolume, Destination: "/data", Device: "volume0"}, {Type: store.MountVolume, Destination: "/again", Device: "volume0"},
		{Type: store.MountBind, Destination: "/host", Device: "share0"},
	}
	now := []store.IOLimit{{Path: "/", WriteBytes: 5}, {Path: "/data", ReadBytes: 1, ReadOperations: 2}}
	for _, test := range []struct {
		name           string
		changes        []IOLimit
		whole, changed []store.IOLimit
		says           string
	}{
		{"none", nil, now, nil, ""},
		{"one of a disk that has others", []IOLimit{{IOWriteBytes, "/data/", 9}}, []store.IOLimit{now[0], {Path: "/data", ReadBytes: 1, ReadOperations: 2, WriteBytes: 9}},
			[]store.IOLimit{{Path: "/data", ReadBytes: 1, ReadOperations: 2, WriteBytes: 9}}, ""},
		{"the second place of a volume is the same disk", []IOLimit{{IOReadBytes, "/again", 0}, {IOReadOperations, "/data", 0}}, now[:1], []store.IOLimit{{Path: "/data"}}, ""},
		{"the last one goes", []IOLimit{{IOWriteBytes, "/", 0}}, now[1:], []store.IOLimit{{Path: "/"}}, ""},
		{"a directory of the host", []IOLimit{{IOWriteBytes, "/host", 1}}, nil, nil, "a directory of the host"},
		{"a disk of the host", []IOLimit{{IOWriteBytes, "/dev/sda", 1}}, nil, nil, "none of the host's"},
		{"nothing that is mounted", []IOLimit{{IOWriteBytes, "/etc", 1}}, nil, nil, "no disk is mounted there"},
		{"no path", []IOLimit{{IOWriteBytes, "data", 1}}, nil, nil, "no absolute path"},
	} {
		t.Run(test.name, func(t *testing.T) {
			whole, changed, err := limitIO(now, test.changes, mounts)
			if test.says != "" {
				if !errors.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || !slices.Equal(whole, test.whole) || !slices.Equal(changed, test.changed) {
				t.Errorf("all are %+v, those that change %+v, %v", whole, changed, err)
			}
		})
	}
}

func TestLimitsOfDisksAreKeptAndShown(t *testing.T) {
	e := newEngine(t)
	r := request("web")
	r.IOLimits, r.Journal = []IOLimit{{IOWriteBytes, "/", 1 << 20}}, "writeback"
	if _, err := e.Create(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	if err := e.Update(t.Context(), "web", UpdateRequest{IOLimits: []IOLimit{{IOReadOperations, "/", 7}}}); err != nil {
		t.Fatal(err)
	}
	want := []store.IOLimit{{Path: "/", WriteBytes: 1 << 20, ReadOperations: 7}}
	if c, err := e.Inspect(t.Context(), "web"); err != nil || !slices.Equal(c.IOLimits, want) || c.Journal != "writeback" {
		t.Errorf("it shows %+v, journal %q, %v", c.IOLimits, c.Journal, err)
	}
	if spec, err := e.InspectOCI("web"); err != nil || spec.Annotations[annotationIO] != "/ rbps=max wbps=1048576 riops=7 wiops=max" {
		t.Errorf("annotations %q, %v", spec.Annotations, err)
	}
	r = request("wrong")
	r.Journal = "none"
	if _, err := e.Create(t.Context(), r, nil); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "use ordered, writeback or journal") {
		t.Errorf("a journal that there is not gives %v", err)
	}
}

func TestALimitThatNoContainerCanHaveIsRefusedBeforeTheImageIsPulled(t *testing.T) {
	for _, test := range []struct {
		limit  IOLimit
		reason fault.Reason
		says   string
	}{
		{IOLimit{IOReadBytes, "/dev/sda", 1}, fault.Unsupported, "none of the host's"},
		{IOLimit{IOReadBytes, "data", 1}, fault.Unsupported, "no absolute path"},
		{IOLimit{"weight", "/", 1}, fault.Invalid, "there is no limit"},
	} {
		e := newEngine(t)
		r := request("web")
		r.IOLimits = []IOLimit{test.limit}
		if _, err := e.Create(t.Context(), r, nil); !errors.Is(err, test.reason) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: error %v", test.limit, err)
		}
		if pulled, err := e.ListImages(t.Context()); err != nil || len(pulled) > 0 {
			t.Errorf("%+v: pulled was %+v, %v", test.limit, pulled, err)
		}
	}
}
