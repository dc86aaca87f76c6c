package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
)

func formatFlag(value string) cli.Flag {
	return &cli.StringFlag{Name: "format", Value: value, Usage: "`table` or json", Action: func(_ *cli.Context, format string) error {
		if format != "table" && format != "json" {
			return usage("--format %q: use table or json", format)
		}
		return nil
	}}
}

func quietFlag() cli.Flag {
	return &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print ids only"}
}

// columns is a table: the heads, and a function that fills a row.
type columns[T any] struct {
	heads []string
	row   func(T) []string
}

// show prints items as the command's --format says.
func show[T any](c *cli.Context, items []T, table columns[T]) error {
	if c.String("format") == "json" {
		if items == nil {
			items = []T{} // a list is never null
		}
		return printJSON(c, items)
	}
	return printTable(c, items, table)
}

func printJSON(c *cli.Context, value any) error {
	encoder := json.NewEncoder(c.App.Writer)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

func printTable[T any](c *cli.Context, items []T, table columns[T]) error {
	rows := [][]string{table.heads}
	for _, item := range items {
		rows = append(rows, table.row(item))
	}
	return writeRows(c.App.Writer, rows)
}

// pairs is a table of names and values without heads.
func pairs(c *cli.Context, values [][2]string) error {
	var rows [][]string
	for _, value := range values {
		rows = append(rows, []string{value[0] + ":", value[1]})
	}
	return writeRows(c.App.Writer, rows)
}

// writeRows aligns cells, of which some were chosen by strangers. Lines end with no blanks.
func writeRows(to io.Writer, rows [][]string) error {
	var aligned bytes.Buffer
	w := tabwriter.NewWriter(&aligned, 0, 8, 3, ' ', 0)
	for _, cells := range rows {
		clean := make([]string, len(cells))
		for i, cell := range cells {
			clean[i] = printable(cell)
		}
		_, _ = fmt.Fprintln(w, strings.Join(clean, "\t")) // to memory
	}
	_ = w.Flush()
	for text := range strings.Lines(aligned.String()) {
		if _, err := io.WriteString(to, strings.TrimRight(text, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// short is the beginning of an id or digest that people compare.
func short(id string) string {
	if _, hex, ok := strings.Cut(id, ":"); ok {
		id = hex
	}
	return id[:min(12, len(id))]
}

// age says how long ago t was, in the largest unit that fits.
func age(now, t time.Time) string {
	d := max(now.Sub(t), 0)
	const day = 24 * time.Hour
	for _, unit := range []struct {
		name string
		long time.Duration
	}{{"year", 365 * day}, {"month", 30 * day}, {"week", 7 * day}, {"day", day}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		switch n := int64(d / unit.long); {
		case n == 1:
			return "1 " + unit.name + " ago"
		case n > 1:
			return fmt.Sprintf("%d %ss ago", n, unit.name)
		}
	}
	return "now"
}
