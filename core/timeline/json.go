package timeline

import (
	"bytes"
	"encoding/json"
)

// schema of the JSON; it changes when a reader of the one before would be misled.
const schema = 1

// JSON is the timeline as docs/timeline.md describes it.
func (t Timeline) JSON() ([]byte, error) {
	spans := make([]Span, 0, len(t.Spans))
	for _, r := range t.rows() {
		spans = append(spans, r.Span)
	}
	t.Spans = spans
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(struct {
		Schema int `json:"schema"`
		Timeline
	}{schema, t})
	return text.Bytes(), err
}
