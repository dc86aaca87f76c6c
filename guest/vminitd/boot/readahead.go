package boot

import (
	"os"
	"path/filepath"
)

// readAheadKiB is how much the kernel reads of a program around the page that it lacks. An emulated machine waits for a disk as long as it takes to copy some hundred pages, and with 128 KiB, as it is by itself,
// to run a program of 2 MB took 14 requests.
const readAheadKiB = "512"

// readAhead has the kernel read more of a disk at once.
func readAhead() error {
	queues, err := filepath.Glob("/sys/block/vd*/queue/read_ahead_kb")
	if err != nil {
		return err
	}
	for _, queue := range queues {
		if err := os.WriteFile(queue, []byte(readAheadKiB), 0); err != nil {
			return err
		}
	}
	return nil
}
