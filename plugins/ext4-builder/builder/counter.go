package builder

import (
	"io"
	"time"

	"github.com/vzctl/vzctl/sdk/progress"
)

// unixEpoch as a deadline has always passed.
var unixEpoch = time.Unix(0, 0)

// counter counts and reports what is written.
type counter struct {
	out            io.Writer
	report         progress.Func
	item           string
	done, reported int64
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.out.Write(p)
	if c.done += int64(n); c.done-c.reported >= reportUnit {
		c.flush()
	}
	return n, err
}

func (c *counter) flush() {
	c.reported = c.done
	c.report.Report(progress.Update{Step: "export", Item: c.item, Done: c.done, Unit: progress.Bytes})
}
