package layoutsource

import (
	"archive/tar"
	"bytes"
	"testing"
)

// FuzzTar asks that whatever bytes a tar has, all that is found in it lies in it.
func FuzzTar(f *testing.F) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./oci-layout", Size: 3})
	_, _ = w.Write([]byte("abc"))
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "blobs/sha256/ab", Size: 2, PAXRecords: map[string]string{"x.y": "z"}, Format: tar.FormatPAX})
	_, _ = w.Write([]byte("de"))
	_ = w.Close()
	f.Add(out.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		entries, err := index(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		for name, s := range entries {
			if s.offset < 0 || s.size < 0 || s.offset+s.size > int64(len(raw)) || !ofLayout(name) {
				t.Errorf("%q is at %+v of %d bytes", name, s, len(raw))
			}
		}
	})
}

func FuzzReference(f *testing.F) {
	for _, seed := range []string{"/a:b", "/a@sha256:00", "/a:b/c", "/a:b/.@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "/", "/.."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := parseReference(text)
		if err != nil {
			return
		}
		again, err := parseReference(ref.canonical())
		if err != nil || again.canonical() != ref.canonical() {
			t.Errorf("%q is %q, which is %q, %v", text, ref.canonical(), again.canonical(), err)
		}
	})
}
