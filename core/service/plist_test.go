package service

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

// plist reads a property list as launchd does: strings, booleans, arrays and dictionaries of them, and nothing else.
func plist(text string) (any, error) {
	d := xml.NewDecoder(strings.NewReader(text))
	start, err := nextElement(d)
	if err != nil || start == nil || start.Name.Local != "plist" {
		return nil, fmt.Errorf("it begins with %+v, %v", start, err)
	}
	value, err := plistValue(d)
	if err != nil {
		return nil, err
	}
	if after, err := nextElement(d); err != nil || after != nil {
		return nil, fmt.Errorf("after the value comes %+v, %v", after, err)
	}
	if _, err := d.Token(); err != nil && !errors.Is(err, io.EOF) { // the last line's end
		return nil, err
	}
	return value, nil
}

// nextElement returns nil at the end of the one that it is in. Text beside spaces is an error.
func nextElement(d *xml.Decoder) (*xml.StartElement, error) {
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			return &token, nil
		case xml.EndElement:
			return nil, nil
		case xml.CharData:
			if strings.TrimSpace(string(token)) != "" {
				return nil, fmt.Errorf("text between elements: %q", token)
			}
		}
	}
}

var errEnd = errors.New("there is no more")

func plistValue(d *xml.Decoder) (any, error) {
	start, err := nextElement(d)
	if err != nil {
		return nil, err
	}
	if start == nil {
		return nil, errEnd
	}
	switch start.Name.Local {
	case "string", "key":
		var text string
		err := d.DecodeElement(&text, start)
		return text, err
	case "true", "false":
		return start.Name.Local == "true", d.Skip()
	case "array":
		all := []any{}
		for {
			value, err := plistValue(d)
			if errors.Is(err, errEnd) {
				return all, nil
			}
			if err != nil {
				return nil, err
			}
			all = append(all, value)
		}
	case "dict":
		return plistDict(d)
	}
	return nil, fmt.Errorf("an element <%s>", start.Name.Local)
}

func plistDict(d *xml.Decoder) (any, error) {
	all := map[string]any{}
	for {
		start, err := nextElement(d)
		if err != nil || start == nil {
			return all, err
		}
		var key string
		if err := d.DecodeElement(&key, start); err != nil || start.Name.Local != "key" {
			return nil, fmt.Errorf("<%s> in the place of a key, %v", start.Name.Local, err)
		}
		if _, twice := all[key]; twice {
			return nil, fmt.Errorf("the key %q is there twice", key)
		}
		if all[key], err = plistValue(d); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
}

func TestLaunchdReadsWhatIsMeant(t *testing.T) {
	for name, s := range map[string]Spec{
		"plain": {Program: "/usr/local/bin/vzctl", Root: "/var/lib/vzctl"},
		"odd":   {Program: "/a b/<vzctl>", Root: "/srv/50% \"off\" & ]]> '$x'", Environment: []string{"XDG_CONFIG_HOME=/a=b/<&>", "EMPTY="}},
	} {
		t.Run(name, func(t *testing.T) {
			want := map[string]any{"Label": label, "RunAtLoad": true, "AbandonProcessGroup": true, "ProgramArguments": []any{s.Program, "--root", s.Root, "system", "autostart"}}
			if len(s.Environment) > 0 {
				want["EnvironmentVariables"] = map[string]any{"XDG_CONFIG_HOME": "/a=b/<&>", "EMPTY": ""}
			}
			text, err := (Host{OS: "darwin"}).Text(s)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := plist(text); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%v\n%#v\nwant\n%#v", err, got, want)
			}
		})
	}
}
