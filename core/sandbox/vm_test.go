package sandbox

import "testing"

func TestTheVMIsAskedToRunVMsIfTheContainerIsTo(t *testing.T) {
	for _, nested := range []bool{false, true} {
		spec := newWorld(t).spec()
		spec.Nested = nested
		if got := New(spec, Environment{}).vmSpec().NestedVirtualization; got != nested {
			t.Errorf("asked for %v it is %v", nested, got)
		}
	}
}
