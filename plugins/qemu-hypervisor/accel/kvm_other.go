//go:build !(linux && amd64)

package accel

// probeKVM believes KVM: only on x86 have there been any that lie.
func probeKVM() Verdict {
	return Verdict{Usable: true, Reason: kvmDevice + " opens; its speed is not probed on this architecture"}
}
