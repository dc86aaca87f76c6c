package engine

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/sdk/fault"
)

// DiskUsage is what things of one kind take of the host's disk.
type DiskUsage struct {
	Kind  string `json:"kind"`
	Total int    `json:"total"`
	// Active are those that a container needs, or containers that are not at rest; templates are nobody's.
	Active int `json:"active"`
	// SizeBytes are blocks of the disk, holes not among them.
	SizeBytes int64 `json:"sizeBytes"`
	// FreeableBytes are of what is not active; what images share among them is counted where it is stored, so that of images it is at most this.
	FreeableBytes int64 `json:"freeableBytes"`
}

// DiskUsage tells where the disk space below the root went: images (with the disks made of them), containers (with layers, logs and checkpoints), volumes, and templates.
func (e *Engine) DiskUsage(ctx context.Context) ([]DiskUsage, error) {
	paths := e.store.Paths()
	containers, err := e.List(ctx)
	if err != nil {
		return nil, err
	}
	images, err := e.ListImages(ctx)
	if err != nil {
		return nil, err
	}
	volumes, err := e.ListVolumes(ctx)
	if err != nil {
		return nil, err
	}
	templates, err := e.ListTemplates(ctx)
	if err != nil && !errors.Is(err, fault.Unsupported) {
		return nil, err
	}

	boxes := DiskUsage{Kind: "containers", Total: len(containers)}
	needed := map[digest.Digest]bool{}
	for _, c := range containers {
		dirs := []string{paths.Container(c.ID)}
		if record, err := e.store.Get(c.ID); err == nil { // else it is broken, or has been removed meanwhile
			needed[record.Manifest] = true
			dirs = append(dirs, paths.Sandbox(record.Sandbox))
		}
		size, err := e.allocated(dirs...)
		if err != nil {
			return nil, err
		}
		boxes.SizeBytes += size
		if lifecycle.State(c.State).Active() {
			boxes.Active++
		} else {
			boxes.FreeableBytes += size
		}
	}

	pictures := DiskUsage{Kind: "images", Total: len(images)}
	for _, i := range images {
		if needed[i.Manifest] {
			pictures.Active++
		} else {
			pictures.FreeableBytes += i.Size
		}
	}
	if pictures.SizeBytes, err = e.allocated(paths.Images(), paths.Rootfs()); err != nil {
		return nil, err
	}

	disks := DiskUsage{Kind: "volumes", Total: len(volumes)}
	for _, v := range volumes {
		disks.SizeBytes += v.AllocatedBytes
		if len(v.Containers) > 0 {
			disks.Active++
		} else {
			disks.FreeableBytes += v.AllocatedBytes
		}
	}

	booted := DiskUsage{Kind: "templates", Total: len(templates)}
	for _, t := range templates {
		booted.SizeBytes += int64(t.SizeBytes)
	}
	booted.FreeableBytes = booted.SizeBytes
	return []DiskUsage{pictures, boxes, disks, booted}, nil
}

func (e *Engine) allocated(dirs ...string) (sum int64, err error) {
	for _, dir := range dirs {
		size, err := allocated(dir)
		if err != nil {
			return 0, err
		}
		sum += size
	}
	return sum, nil
}
