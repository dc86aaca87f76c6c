package stdio

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/vzctl/vzctl/guest/nonblock"
)

// pageOrder is that of pages of 32 KiB, the largest that the kernel keeps at hand.
const pageOrder = 3

// EnlargePages has our kernel use such pages for what is written to pipes that this package sets the size of. To another kernel a page is what it always was.
func EnlargePages() error {
	if err := os.WriteFile(nonblock.PipeOrderFile, []byte(strconv.Itoa(pageOrder)), 0); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// sizeFor is the size to set, in bytes, for a pipe that is to hold so many: the kernel takes each of its pages for one of 4 KiB.
func sizeFor(bytes int) int {
	text, err := os.ReadFile(nonblock.PipeOrderFile)
	if err != nil {
		return bytes
	}
	order, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 4)
	if err != nil {
		return bytes
	}
	return bytes >> order
}
