package machine

import (
	"fmt"
	"strconv"
	"time"
)

// maxTemplates is what the templates of one user take of the disk at most, in bytes, if nothing else is said. One takes 40 to 80 MB.
const maxTemplates = 2 << 30

// TemplateLimits reads what options say of templates: their size together in bytes, and how long one may not have been used, 0 for ever.
func TemplateLimits(options map[string]string) (size int64, unused time.Duration, err error) {
	size = maxTemplates
	if text := options[OptionTemplatesMaxSize]; text != "" {
		mebibytes, err := strconv.ParseUint(text, 10, 40)
		if err != nil {
			return 0, 0, err
		}
		size = int64(mebibytes) << 20
	}
	if text := options[OptionTemplatesMaxUnused]; text != "" {
		if unused, err = time.ParseDuration(text); err == nil && unused <= 0 {
			err = fmt.Errorf("%q is no time to wait", text)
		}
	}
	return size, unused, err
}
