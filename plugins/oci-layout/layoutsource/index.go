package layoutsource

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource/transfer"
)

// annotationImageName holds a full reference in layouts of containerd and Docker.
const annotationImageName = "io.containerd.image.name"

// find reads index.json and returns what the reference means in it.
func find(f files, ref reference) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	if err := checkMarker(f); err != nil {
		return none, err
	}
	file, err := f.open(ocispec.ImageIndexFile)
	if err != nil {
		return none, err
	}
	raw, err := readAll(file, ocispec.ImageIndexFile)
	if err != nil {
		return none, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return none, &fault.Error{Reason: fault.Invalid, Op: "read", Subject: ocispec.ImageIndexFile, Cause: err, Hint: "the layout is damaged"}
	}
	return choose(index.Manifests, ref)
}

func checkMarker(f files) error {
	file, err := f.open(ocispec.ImageLayoutFile)
	if errors.Is(err, os.ErrNotExist) {
		e := &fault.Error{Reason: fault.Invalid, Op: "read layout", Cause: fmt.Errorf("it has no file %q", ocispec.ImageLayoutFile),
			Hint: "give an OCI image layout, a directory or a tar of one"}
		if manifest, err := f.open("manifest.json"); err == nil {
			e.Reason, e.Cause, e.Hint = fault.Unsupported, errors.Join(errors.New("it is an archive in Docker's own old format"), manifest.Close()),
				"save it as an OCI layout, as docker save does since version 25"
		}
		return e
	}
	if err != nil {
		return err
	}
	raw, err := readAll(file, ocispec.ImageLayoutFile)
	if err != nil {
		return err
	}
	var marker ocispec.ImageLayout
	if err := json.Unmarshal(raw, &marker); err != nil || !strings.HasPrefix(marker.Version, "1.") {
		return &fault.Error{Reason: fault.Unsupported, Op: "read layout", Cause: fmt.Errorf("its version is %s, not 1", transfer.Quote(marker.Version))}
	}
	return nil
}

// choose picks an entry of index.json.
func choose(entries []ocispec.Descriptor, ref reference) (ocispec.Descriptor, error) {
	var found []ocispec.Descriptor
	for _, e := range entries {
		switch {
		case ref.digest != "" && e.Digest == ref.digest, ref.digest == "" && ref.tag != "" && slices.Contains(tags(e), ref.tag):
			found = append(found, e)
		}
	}
	if ref.digest == "" && ref.tag == "" {
		if found = entries; !alike(entries) {
			found = slices.DeleteFunc(slices.Clone(entries), func(e ocispec.Descriptor) bool { return !slices.Contains(tags(e), "latest") })
		}
	}
	switch {
	case len(found) == 0:
		return ocispec.Descriptor{}, &fault.Error{Reason: fault.NotFound, Op: "find image", Subject: ref.canonical(),
			Cause: fmt.Errorf("the layout has %s", names(entries)), Hint: `choose one with ":tag" or "@digest"`}
	case !alike(found):
		return ocispec.Descriptor{}, &fault.Error{Reason: fault.Invalid, Op: "find image", Subject: ref.canonical(),
			Cause: errors.New("several images have this tag"), Hint: `choose one with "@digest"`}
	}
	return found[0], nil
}

// alike reports whether all entries are one image.
func alike(entries []ocispec.Descriptor) bool {
	return len(entries) > 0 && !slices.ContainsFunc(entries, func(e ocispec.Descriptor) bool { return e.Digest != entries[0].Digest })
}

// tags of an entry. Tools write a tag or a whole reference into either annotation.
func tags(e ocispec.Descriptor) []string {
	var tags []string
	for _, key := range []string{ocispec.AnnotationRefName, annotationImageName} {
		name := e.Annotations[key]
		if name == "" {
			continue
		}
		colon := strings.LastIndexByte(name, ':')
		if colon > strings.LastIndexByte(name, '/') {
			name = name[colon+1:]
		} else if strings.Contains(name, "/") || key == annotationImageName {
			name = "latest"
		}
		tags = append(tags, name)
	}
	return tags
}

// names lists what there is for an error message.
func names(entries []ocispec.Descriptor) string {
	const most = 10
	if len(entries) == 0 {
		return "no image"
	}
	var list []string
	for i, e := range entries {
		if i == most {
			list = append(list, "...")
			break
		}
		if t := tags(e); len(t) > 0 {
			list = append(list, transfer.Quote(t[0]))
		} else {
			list = append(list, transfer.Quote(e.Digest.String()))
		}
	}
	return "only " + strings.Join(list, ", ")
}
