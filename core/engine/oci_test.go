package engine

import "testing"

func TestTheSpecThatIsShownHasWhatTheGuestIsToldBesideIt(t *testing.T) {
	e := newEngine(t)
	r := request("web")
	r.User, r.Isolation.Groups, r.Init = "1000:2000", []string{"7", "staff", "wheel"}, true
	if _, err := e.Create(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	spec, err := e.InspectOCI("web")
	if err != nil {
		t.Fatal(err)
	}
	if u := spec.Process.User; u.UID != 1000 || u.GID != 2000 || len(u.AdditionalGids) != 1 || u.AdditionalGids[0] != 7 {
		t.Errorf("the user is %+v", u)
	}
	for key, want := range map[string]string{annotationUser: "1000:2000", annotationGroups: "staff,wheel", annotationInit: "true"} {
		if got := spec.Annotations[key]; got != want {
			t.Errorf("annotation %s is %q, want %q", key, got, want)
		}
	}
	r = request("named")
	r.User = "app"
	if _, err := e.Create(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	if spec, err = e.InspectOCI("named"); err != nil || spec.Process.User.UID != 0 || len(spec.Annotations) != 1 || spec.Annotations[annotationUser] != "app" {
		t.Errorf("user %+v, annotations %v, %v", spec.Process.User, spec.Annotations, err)
	}
}
