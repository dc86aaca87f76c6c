package portguard

import "time"

// Bucket bounds the rate of frames and bytes of one port. It is not safe for use by several goroutines.
type Bucket struct {
	// Frames and Bytes a second; the bucket holds a quarter of a second's worth of each, or one frame.
	Frames, Bytes float64

	frames, bytes float64
	last          time.Time
}

const burst = 0.25 // seconds

// Take reports whether a frame of n bytes fits at the time.
func (b *Bucket) Take(now time.Time, n int) bool {
	if b.last.IsZero() {
		b.frames, b.bytes = b.Frames*burst, b.Bytes*burst
	} else if passed := now.Sub(b.last).Seconds(); passed > 0 {
		b.frames = min(b.frames+passed*b.Frames, max(1, b.Frames*burst))
		b.bytes = min(b.bytes+passed*b.Bytes, max(float64(n), b.Bytes*burst))
	}
	b.last = now
	if b.frames < 1 || b.bytes < float64(n) {
		return false
	}
	b.frames--
	b.bytes -= float64(n)
	return true
}
