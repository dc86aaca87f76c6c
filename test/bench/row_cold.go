package main

import (
	"context"
	"os"
	"path/filepath"
)

// start is the whole of a container's life: the command, its plugins, the VM, one program, and the end.
func start() row {
	return row{
		name: "cold", what: "start of a cached container: `vzctl run --rm IMAGE /bin/true`, the whole process",
		reference: "the same QEMU, kernel and machine booting a static init of 2 MB and powering off",
		target:    target{ratio: 0.35},
		measure: func(ctx context.Context, s *stage) (measured, error) {
			initrd, err := s.smallest(ctx)
			if err != nil {
				return measured{}, err
			}
			return pairs(ctx, s.count, s.runTrue, s.bare.boots(s.bare.kernel, initrd, initSays))
		},
	}
}

// bootedStart is the same where VMs are not cloned.
func bootedStart() row {
	r := start()
	r.name, r.what, r.target = "boot", "the same with a VM that is booted and not cloned (`templates = \"off\"`)", target{}
	r.measure = func(ctx context.Context, s *stage) (measured, error) {
		initrd, err := s.smallest(ctx)
		if err != nil {
			return measured{}, err
		}
		config, err := s.withoutTemplates()
		if err != nil {
			return measured{}, err
		}
		run := func(ctx context.Context) (float64, error) {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			cmd := s.vzctl(ctx, "run", "--rm", s.image, "/bin/true")
			cmd.Env = append(cmd.Env, "XDG_CONFIG_HOME="+config)
			return timed(cmd)
		}
		return pairs(ctx, s.count, run, s.bare.boots(s.bare.kernel, initrd, initSays))
	}
	return r
}

// withoutTemplates returns the directory of a configuration by which VMs are booted.
func (s *stage) withoutTemplates() (string, error) {
	config := s.path("config-boot")
	if err := os.MkdirAll(filepath.Join(config, "vzctl"), 0o700); err != nil {
		return "", err
	}
	text := "[defaults]\nhypervisor_options = { templates = \"off\" }\n"
	return config, os.WriteFile(filepath.Join(config, "vzctl", "config.toml"), []byte(text), 0o600)
}

func (s *stage) runTrue(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return timed(s.vzctl(ctx, "run", "--rm", s.image, "/bin/true"))
}
