package engine

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/core/events"
	"github.com/vzctl/vzctl/core/images"
	"github.com/vzctl/vzctl/core/store"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/layout"
	"github.com/vzctl/vzctl/sdk/progress"
)

// CommitRequest describes the image that is made of a container.
type CommitRequest struct {
	Reference string // its name
	Message   string
	Author    string
	// Changes of the image's configuration, as in a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR.
	Changes []string
}

// commitSource is what made such images, in the place of an image source plugin.
const commitSource = "commit"

// Commit makes an image of a container's image, with what the container has changed of its files as one more layer. The configuration is that of the image: what the container was
// told beside it, its environment for one, may be secret. A container that runs goes on, and does not write meanwhile.
func (e *Engine) Commit(ctx context.Context, ref string, request CommitRequest, report progress.Func) (_ Image, warnings []string, err error) {
	canonical, err := images.Canonical(request.Reference)
	if err == nil && isPath(canonical) {
		err = &fault.Error{Reason: fault.Invalid, Op: "name image", Subject: request.Reference, Cause: errors.New("it is a path")}
	}
	if err != nil {
		return Image{}, nil, err
	}
	var edits ocispec.ImageConfig
	for _, change := range request.Changes { // refused before any work
		if err := changeConfig(&edits, change); err != nil {
			return Image{}, nil, err
		}
	}
	release, err := e.images.Hold(ctx)
	if err != nil {
		return Image{}, nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	var made images.Image
	warnings, err = e.withFiles(ctx, ref, false, report, func(a *access, c store.Container) error {
		base, err := e.imageOf(c)
		if err != nil {
			return err
		}
		layer, diff, err := e.commitLayer(ctx, a)
		if err != nil {
			return err
		}
		root, err := e.commitManifest(ctx, base, layer, diff, request)
		if err != nil {
			return err
		}
		if err := e.images.Add(ctx, canonical, root, commitSource); err != nil {
			return err
		}
		made, err = e.images.Resolve(canonical, base.Platform)
		return err
	})
	if err != nil {
		return Image{}, warnings, err
	}
	e.tell(ctx, events.Event{Type: "image", Action: "commit", ID: made.ID.String(), Name: made.Name})
	return imageView(made), warnings, nil
}

// imageOf finds the image of a container in the store.
func (e *Engine) imageOf(c store.Container) (images.Image, error) {
	platform, err := images.ParsePlatform(c.Platform)
	if err != nil {
		return images.Image{}, err
	}
	image, err := e.images.Resolve(c.Manifest.String(), platform)
	if err == nil {
		err = e.images.Verify(image)
	}
	if errors.Is(err, fault.NotFound) {
		return images.Image{}, &fault.Error{Reason: fault.NotFound, Op: "commit container", Subject: c.Name, Cause: fmt.Errorf("its image %s is not in the store any more", c.Image),
			Hint: "pull it again"}
	}
	return image, err
}

// commitLayer brings what the container has changed into the image store.
func (e *Engine) commitLayer(ctx context.Context, a *access) (layer ocispec.Descriptor, diff digest.Digest, err error) {
	spool, err := os.CreateTemp(e.store.Paths().Root, "commit-")
	if err != nil {
		return layer, "", err
	}
	// It has no name from now on, and so is never left.
	defer func() { err = errors.Join(err, spool.Close()) }()
	if err := os.Remove(spool.Name()); err != nil {
		return layer, "", err
	}
	sum, diffSum := digest.Canonical.Digester(), digest.Canonical.Digester()
	zip := gzip.NewWriter(io.MultiWriter(spool, sum.Hash()))
	_, err = a.use(ctx, &guestv1.FilesRequest{Of: &guestv1.FilesRequest_Changes{Changes: &guestv1.ReadChangesRequest{Layer: true}}}, nil,
		copyTo(io.MultiWriter(zip, diffSum.Hash())))
	if err := errors.Join(err, zip.Close()); err != nil {
		return layer, "", err
	}
	size, err := spool.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = spool.Seek(0, io.SeekStart)
	}
	if err != nil {
		return layer, "", err
	}
	layer = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: sum.Digest(), Size: size}
	_, err = layout.Dir{Path: e.images.Path()}.Write(ctx, layer, func(context.Context) (io.ReadCloser, error) { return io.NopCloser(spool), nil }, nil)
	return layer, diffSum.Digest(), err
}

// commitManifest writes the documents of an image with one layer more, and returns its root.
func (e *Engine) commitManifest(ctx context.Context, base images.Image, layer ocispec.Descriptor, diff digest.Digest, request CommitRequest) (ocispec.Descriptor, error) {
	now := time.Now().UTC()
	config := base.Config
	config.Created = &now
	if request.Author != "" {
		config.Author = request.Author
	}
	config.RootFS.DiffIDs = append(append([]digest.Digest{}, config.RootFS.DiffIDs...), diff)
	config.History = append(append([]ocispec.History{}, config.History...),
		ocispec.History{Created: &now, CreatedBy: "vzctl commit", Author: request.Author, Comment: request.Message})
	for _, change := range request.Changes {
		if err := changeConfig(&config.Config, change); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	configBlob, err := e.writeDocument(ctx, ocispec.MediaTypeImageConfig, config)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: configBlob}
	for _, l := range append(append([]ocispec.Descriptor{}, base.Layers...), layer) {
		l.MediaType = ociLayerType(l.MediaType)
		manifest.Layers = append(manifest.Layers, l)
	}
	return e.writeDocument(ctx, ocispec.MediaTypeImageManifest, manifest)
}

// ociLayerType gives Docker's layers, which have the same bytes, the type that they have in an OCI manifest.
func ociLayerType(mediaType string) string {
	switch mediaType {
	case "application/vnd.docker.image.rootfs.diff.tar.gzip":
		return ocispec.MediaTypeImageLayerGzip
	case "application/vnd.docker.image.rootfs.diff.tar":
		return ocispec.MediaTypeImageLayer
	}
	return mediaType
}

func (e *Engine) writeDocument(ctx context.Context, mediaType string, document any) (ocispec.Descriptor, error) {
	raw, err := json.Marshal(document)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	return d, layout.Dir{Path: e.images.Path()}.WriteDocument(ctx, d, raw)
}

// changeConfig applies one instruction of a Dockerfile.
func changeConfig(config *ocispec.ImageConfig, text string) error {
	instruction, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	rest = strings.TrimSpace(rest)
	bad := func(cause string) error {
		return &fault.Error{Reason: fault.Invalid, Op: "change the image", Subject: text, Cause: errors.New(cause)}
	}
	if strings.ContainsRune(text, 0) || rest == "" {
		return bad("it has no value")
	}
	switch strings.ToUpper(instruction) {
	case "CMD":
		config.Cmd = commandLine(rest)
	case "ENTRYPOINT":
		config.Entrypoint = commandLine(rest)
	case "ENV":
		name, value, ok := pair(rest)
		if !ok {
			return bad("write ENV NAME=VALUE, each in a change of its own")
		}
		env := []string{}
		for _, old := range config.Env {
			if !strings.HasPrefix(old, name+"=") {
				env = append(env, old)
			}
		}
		config.Env = append(env, name+"="+value)
	case "LABEL":
		name, value, ok := pair(rest)
		if !ok {
			return bad("write LABEL NAME=VALUE, each in a change of its own")
		}
		labels := map[string]string{name: value}
		for n, v := range config.Labels {
			if n != name {
				labels[n] = v
			}
		}
		config.Labels = labels
	case "EXPOSE":
		config.ExposedPorts = withAll(config.ExposedPorts, strings.Fields(rest), func(port string) string {
			if !strings.Contains(port, "/") {
				port += "/tcp"
			}
			return port
		})
	case "VOLUME":
		volumes := strings.Fields(rest)
		_ = json.Unmarshal([]byte(rest), &volumes) // or it is not the JSON form
		config.Volumes = withAll(config.Volumes, volumes, strings.TrimSpace)
	case "USER":
		config.User = rest
	case "WORKDIR":
		if !strings.HasPrefix(rest, "/") {
			return bad("it is not an absolute path")
		}
		config.WorkingDir = rest
	case "STOPSIGNAL":
		config.StopSignal = rest
	default:
		return bad("there are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR")
	}
	return nil
}

// commandLine is a JSON array, or what a shell runs.
func commandLine(text string) []string {
	var words []string
	if json.Unmarshal([]byte(text), &words) == nil {
		return words
	}
	return []string{"/bin/sh", "-c", text}
}

// pair reads NAME=VALUE or NAME VALUE; the value may be in double quotes, and is in them if it follows "=" and has blanks. Several pairs are none.
func pair(text string) (name, value string, ok bool) {
	i := strings.IndexAny(text, "= ")
	if i <= 0 {
		return "", "", false
	}
	name, value = text[:i], strings.TrimSpace(text[i+1:])
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
		return name, value, !strings.Contains(value, `"`)
	}
	return name, value, text[i] != '=' || !strings.ContainsAny(value, " \t")
}

// withAll is a copy of a set with more in it.
func withAll(set map[string]struct{}, more []string, form func(string) string) map[string]struct{} {
	all := map[string]struct{}{}
	for name := range set {
		all[name] = struct{}{}
	}
	for _, name := range more {
		all[form(name)] = struct{}{}
	}
	return all
}
