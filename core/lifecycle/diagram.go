package lifecycle

import (
	"fmt"
	"strings"
)

// Diagram returns the table as a Mermaid state diagram. Events that change nothing are left out.
func Diagram() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> creating\n")
	for _, from := range states {
		for _, to := range states {
			var labels []string
			for _, t := range transitions {
				if t.from == from.state && t.to == to.state && t.from != t.to {
					labels = append(labels, string(t.event))
				}
			}
			if len(labels) > 0 {
				fmt.Fprintf(&b, "    %s --> %s: %s\n", from.state, to.state, strings.Join(labels, ", "))
			}
		}
	}
	b.WriteString("    gone --> [*]\n")
	return b.String()
}
