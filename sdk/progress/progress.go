// Package progress is how long work tells how far it is.
package progress

// Unit of an Update.
type Unit string

// The units.
const (
	Bytes Unit = "bytes"
	Items Unit = "items"
)

// Update replaces what was said of the same Item before.
type Update struct {
	Step  string // for people
	Item  string // names the bar
	Done  int64
	Total int64 // 0 while unknown
	Unit  Unit
}

// Func receives updates, in order. It must not block for long. A nil Func may not be called; see [Func.Report].
type Func func(Update)

// Report calls f unless it is nil.
func (f Func) Report(u Update) {
	if f != nil {
		f(u)
	}
}
