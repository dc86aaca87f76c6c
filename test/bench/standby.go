package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// standByPatience bounds the boot and rehearsal of a VM that is to stand by.
const standByPatience = time.Minute

// standBy returns when a VM stands by to be forked that knows the image, as it does for a user who starts more than a few containers; at once if VMs are not forked here.
func (s *stage) standBy(ctx context.Context) error {
	if s.describedAccelerator(ctx) != "tcg" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, standByPatience)
	defer cancel()
	for range 3 { // the first pulls and makes the template, the second has a VM stand by; another if that one's time was up
		if _, err := s.runTrue(ctx); err != nil {
			return err
		}
	}
	for told := false; ; {
		text, err := output(s.vzctl(ctx, "system", "template", "ls", "--format", "json"))
		if err != nil {
			return err
		}
		var list []struct{ Description string }
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return err
		}
		for _, t := range list {
			switch {
			case strings.Contains(t.Description, "images known: "):
				return nil
			case strings.Contains(t.Description, "stands by to be forked") && !told:
				told = true
				for range 2 { // after which it is told of the image
					if _, err := s.runTrue(ctx); err != nil {
						return err
					}
				}
			}
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil { // nobody tells
			return fmt.Errorf("no VM stands by: %w", err)
		}
	}
}

// describedAccelerator is what the last start used.
func (s *stage) describedAccelerator(ctx context.Context) string {
	_, _, err := s.timedStart(ctx)
	if err != nil {
		return ""
	}
	text, err := os.ReadFile(s.path("start.json"))
	if err != nil {
		return ""
	}
	var t struct{ Accelerator string }
	if json.Unmarshal(text, &t) != nil {
		return ""
	}
	return t.Accelerator
}

// ofContainer are a container's processes: its supervisor's descendants, and its QEMU, which is another's child if it was forked.
func (all processList) ofContainer(supervisor int) (out processList) {
	out = all.below(supervisor)
	if len(out) == 0 {
		return nil
	}
	has := map[int]bool{}
	for _, p := range out {
		has[p.pid] = true
	}
	id := out[0].args[len(out[0].args)-1]
	for _, p := range all {
		if len(p.args) > 2 && p.args[1] == "-name" && p.args[2] == id && !has[p.pid] {
			out = append(out, p)
		}
	}
	return out
}

// standing returns the memory of VMs that stand by below a root, and their holders: PSS in bytes.
func (all processList) standing(root string) (total float64, err error) {
	counted := map[int]bool{}
	for _, p := range all {
		if len(p.args) > 2 && p.args[1] == "-name" && strings.HasPrefix(p.args[2], "standby-") && strings.Contains(strings.Join(p.args, " "), filepath.Clean(root)) {
			for _, pid := range []int{p.pid, p.parent} {
				if counted[pid] { // the holder of two
					continue
				}
				size, err := pss(pid)
				if err != nil {
					return 0, err
				}
				total += size
				counted[pid] = true
			}
		}
	}
	return total, nil
}
