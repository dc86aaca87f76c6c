package docs

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/vzctl/vzctl/core/config"
)

var settings = regexp.MustCompile("(?s)```toml\n(.*?)```")

func TestSettingsInTheDocumentationAreThoseThereAre(t *testing.T) {
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range settings.FindAllSubmatch(text, -1) {
			meta, err := toml.Decode(string(m[1]), new(config.Config))
			if err != nil || len(meta.Undecoded()) > 0 {
				t.Errorf("%s: %v, unknown %v\n%s", page, err, meta.Undecoded(), m[1])
			}
		}
	}
}

func TestEverySettingIsInTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	// The example is what is read, so that a key stands in its table.
	example := settings.FindSubmatch(page)
	if example == nil {
		t.Fatal("no example")
	}
	var got config.Config
	meta, err := toml.Decode(string(example[1]), &got)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys(reflect.TypeFor[config.Config](), nil) {
		if !meta.IsDefined(key...) {
			t.Errorf("%s is not in the example", strings.Join(key, "."))
		}
	}
}

// keys lists all settings of a struct; "lab" stands for the name of a network.
func keys(of reflect.Type, above []string) (all [][]string) {
	for i := range of.NumField() {
		f := of.Field(i)
		name := f.Tag.Get("toml")
		if name == "-" {
			continue
		}
		key := append(above[:len(above):len(above)], name)
		switch {
		case f.Type.Kind() == reflect.Struct:
			all = append(all, keys(f.Type, key)...)
		case f.Type.Kind() == reflect.Map && f.Type.Elem().Kind() == reflect.Struct:
			all = append(all, keys(f.Type.Elem(), append(key, "lab"))...)
		default:
			all = append(all, key)
		}
	}
	return all
}
