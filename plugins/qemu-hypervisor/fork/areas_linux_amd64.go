package fork

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
)

// area is a part of a process's address space.
type area struct {
	begin, end uint64
	name       string
	private    bool
	writable   bool
	dropped    bool // by fork, as madvise(2) MADV_DONTFORK has it
}

// areasOf reads /proc/PID/smaps.
func areasOf(pid int) (areas []area, err error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		if fields[0] == "VmFlags:" && len(areas) > 0 {
			areas[len(areas)-1].dropped = slices.Contains(fields[1:], "dc")
			continue
		}
		var a area
		if strings.HasSuffix(fields[0], ":") || len(fields) < 5 {
			continue
		}
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &a.begin, &a.end); err != nil {
			return nil, fmt.Errorf("read %s: %w", file.Name(), err)
		}
		a.private, a.writable = strings.HasSuffix(fields[1], "p"), strings.HasPrefix(fields[1], "rw")
		a.name = strings.Join(fields[5:], " ")
		areas = append(areas, a)
	}
	return areas, lines.Err()
}
