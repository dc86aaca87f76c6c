package accel

// cycles returns the CPU's time stamp counter.
func cycles() uint64
