package main

import "context"

// coldStart is the whole of a container's life: the command, its plugins, the boot, one program, and the end.
func coldStart() row {
	return row{
		name: "cold", what: "cold start of a cached container: `vzctl run --rm IMAGE /bin/true`, the whole process",
		reference: "the same QEMU, kernel and machine booting a static init of 2 MB and powering off",
		target:    target{ratio: 1.6},
		measure: func(ctx context.Context, s *stage) (measured, error) {
			initrd, err := s.smallest(ctx)
			if err != nil {
				return measured{}, err
			}
			return pairs(ctx, s.count, s.runTrue, s.bare.boots(s.bare.kernel, initrd, initSays))
		},
	}
}

func (s *stage) runTrue(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return timed(s.vzctl(ctx, "run", "--rm", s.image, "/bin/true"))
}
