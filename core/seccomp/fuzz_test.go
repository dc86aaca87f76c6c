package seccomp

import (
	"testing"

	"github.com/vzctl/vzctl/guest/seccomp"
)

// FuzzProfile: a profile that is taken makes a filter for whomever it is for, or says why not; and no filter is larger than a kernel takes.
func FuzzProfile(f *testing.F) {
	f.Add(defaultProfile)
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":1,"args":[{"index":5,"value":1,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}]}]}`))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64"}],"syscalls":[{"name":"open","includes":{"caps":["CAP_CHOWN"],"minKernel":"6.1"}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		for _, subject := range []Subject{{Arch: "amd64"}, {Arch: "arm64", Kernel: "6.1.158", Capabilities: []string{"CAP_CHOWN"}}} {
			spec, err := p.For(subject)
			if err != nil {
				continue
			}
			made, err := seccomp.Compile(spec, subject.Arch)
			if err == nil && seccomp.Check(seccomp.Encode(made.Program)) != nil {
				t.Errorf("a program of %d instructions was made", len(made.Program))
			}
		}
	})
}
