package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/internal/filltest"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

func TestAPluginRunByHandSaysWhatItIsInOneLine(t *testing.T) {
	var out, errs bytes.Buffer
	code := byHand(Info{Name: "qemu-hypervisor", Version: "1.0", Kind: Hypervisor}, nil, &out, &errs)
	if code != 1 || out.Len() > 0 || strings.Count(errs.String(), "\n") != 1 || !strings.Contains(errs.String(), "qemu-hypervisor 1.0 is a hypervisor plugin of vzctl") {
		t.Errorf("code %d, %q, %q", code, out.String(), errs.String())
	}
}

func TestAPluginRunByHandPrintsItsInfo(t *testing.T) {
	var out, errs bytes.Buffer
	want := Info{Name: "x", Version: "1", Kind: Network, ProtocolVersions: []uint32{1}, Platforms: []string{"linux/amd64"}}
	var got Info
	if code := byHand(want, []string{"--info"}, &out, &errs); code != 0 || json.Unmarshal(out.Bytes(), &got) != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("code %d, %s%s", code, out.String(), errs.String())
	}
}

func TestInfoKeepsEveryField(t *testing.T) {
	for _, kind := range Kinds() {
		filltest.RoundTrip(t, "info", filltest.Values{
			reflect.TypeFor[Kind](): func(int) any { return kind },
		}, nil, func(i Info) Info {
			name := i.Name
			i.Name = "a-name"
			got, err := InfoFromProto(InfoToProto(i))
			if err != nil {
				t.Error(err)
			}
			got.Name = name
			return got
		})
	}
}

func TestInfoIsNotTrusted(t *testing.T) {
	for name, r := range map[string]*pluginv1.InfoResponse{
		"nothing":              nil,
		"no name":              {Kind: pluginv1.Kind_KIND_NETWORK},
		"a name that is none":  {Name: "../x", Kind: pluginv1.Kind_KIND_NETWORK},
		"a name of 64 letters": {Name: strings.Repeat("a", 64), Kind: pluginv1.Kind_KIND_NETWORK},
		"no kind":              {Name: "x"},
		"a kind of the future": {Name: "x", Kind: 99},
	} {
		if _, err := InfoFromProto(r); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

type closer struct{ err error }

func (c closer) Close() error { return c.err }

type stopper struct{ closer }

func (stopper) Shutdown(context.Context) error { return errors.New("shut down") }

func TestShutdownPrefersShutdownToClose(t *testing.T) {
	for name, c := range map[string]struct {
		impl any
		want string
	}{
		"neither":      {impl: 1},
		"a closer":     {impl: closer{errors.New("closed")}, want: "closed"},
		"has Shutdown": {impl: stopper{}, want: "shut down"},
	} {
		err := shutdown(c.impl)
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

func TestALifelineThatIsNoneIsRefused(t *testing.T) {
	for _, text := range []string{"", "x", "0", "2", "-1", "987654"} {
		t.Setenv("VZCTL_LIFELINE_FD", text)
		if f, err := openLifeline(); err == nil {
			t.Errorf("%q gave %v", text, f)
		}
	}
}
