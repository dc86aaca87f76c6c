package vm

import (
	"bufio"
	"os"
	"slices"
	"strings"
)

// hostCPU returns what the system says of its first processor. A guest that was booted by KVM knows it, and must not go on with another: the root of a
// host may be moved to a new one.
func hostCPU(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	passing := []string{"processor", "cpu MHz", "bogomips", "BogoMIPS", "apicid", "initial apicid", "core id", "physical id"} // of the moment, or of one CPU
	var about []string
	lines := bufio.NewScanner(file)
	for lines.Scan() && lines.Text() != "" {
		name, _, _ := strings.Cut(lines.Text(), ":")
		if !slices.Contains(passing, strings.TrimSpace(name)) {
			about = append(about, lines.Text())
		}
	}
	return about, lines.Err()
}
