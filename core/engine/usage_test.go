package engine

import "testing"

func TestDiskUsageTellsWhatNoContainerNeeds(t *testing.T) {
	t.Setenv(script, "templates")
	e := newEngine(t)
	usage := func() map[string]DiskUsage {
		all, err := e.DiskUsage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		byKind := map[string]DiskUsage{}
		for _, u := range all {
			byKind[u.Kind] = u
		}
		return byKind
	}
	c, err := e.Create(t.Context(), request("web"), nil)
	if err != nil {
		t.Fatal(err)
	}
	with := usage()
	if u := with["images"]; u.Total != 1 || u.Active != 1 || u.SizeBytes == 0 || u.FreeableBytes != 0 {
		t.Errorf("images %+v", u)
	}
	if u := with["containers"]; u.Total != 1 || u.Active != 0 || u.SizeBytes == 0 || u.FreeableBytes != u.SizeBytes {
		t.Errorf("containers %+v", u)
	}
	if err := e.Remove(t.Context(), c.ID, false); err != nil {
		t.Fatal(err)
	}
	without := usage()
	if u := without["images"]; u.Total != 1 || u.Active != 0 {
		t.Errorf("images, without a container, %+v", u)
	}
	if u := without["containers"]; u != (DiskUsage{Kind: "containers"}) {
		t.Errorf("containers, without one, %+v", u)
	}
}
