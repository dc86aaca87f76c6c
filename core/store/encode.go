package store

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// encode returns what json.Marshal does. That first makes tables of all types that a value could have in it, which for a runtime spec takes the most part of a millisecond, in each process anew;
// this looks at what is there.
func encode(value any) ([]byte, error) { return appendValue(nil, reflect.ValueOf(value)) }

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func appendValue(b []byte, v reflect.Value) ([]byte, error) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && !marshals(v.Type()) {
			return appendValue(b, v.Elem())
		}
	case reflect.Struct:
		if fields, ok := fieldsOf(v.Type()); ok && !marshals(v.Type()) {
			return appendStruct(b, v, fields)
		}
	case reflect.Slice:
		if elem := v.Type().Elem().Kind(); !v.IsNil() && !marshals(v.Type()) && (elem == reflect.Struct || elem == reflect.Pointer) {
			return appendSlice(b, v)
		}
	}
	if !v.IsValid() {
		return append(b, "null"...), nil
	}
	text, err := json.Marshal(v.Interface())
	return append(b, text...), err
}

func marshals(t reflect.Type) bool { return t.Implements(jsonMarshaler) || t.Implements(textMarshaler) }

func appendSlice(b []byte, v reflect.Value) (_ []byte, err error) {
	b = append(b, '[')
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendValue(b, v.Index(i)); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

func appendStruct(b []byte, v reflect.Value, fields []field) (_ []byte, err error) {
	b = append(b, '{')
	begun := len(b)
	for _, f := range fields {
		value := v.Field(f.index)
		if f.omitEmpty && empty(value) || f.omitZero && zero(value) {
			continue
		}
		if len(b) > begun {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), f.name...), `":`...)
		if b, err = appendValue(b, value); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

// field of a struct, by its tag.
type field struct {
	index               int
	name                string
	omitEmpty, omitZero bool
}

// fieldsOf reports false for a struct of which a field is no plain one.
func fieldsOf(t reflect.Type) ([]field, bool) {
	fields := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if tag == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if f.Anonymous || name == "" || strings.ContainsAny(name, `"\<>&`) {
			return nil, false
		}
		made := field{index: i, name: name}
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "":
			case "omitempty":
				made.omitEmpty = true
			case "omitzero":
				made.omitZero = true
			default:
				return nil, false
			}
		}
		fields = append(fields, made)
	}
	return fields, true
}

// empty is what omitempty leaves out.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct, reflect.Func, reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return false
	}
	return v.IsZero()
}

// zero is what omitzero leaves out.
func zero(v reflect.Value) bool {
	if z, ok := v.Interface().(interface{ IsZero() bool }); ok && (v.Kind() != reflect.Pointer || !v.IsNil()) {
		return z.IsZero()
	}
	return v.IsZero()
}
