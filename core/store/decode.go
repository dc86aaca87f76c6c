package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

var jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()

// unmarshaler is json.Unmarshal, for who reads many records, or decode for one.
type unmarshaler func(text []byte, value any) error

// decode is json.Unmarshal into a pointer to a zero value, of text that encode has written: names of members are as they are written. As encode does, it makes no tables; who reads many
// values of one type is better served by the library.
func decode(text []byte, value any) error { return decodeValue(text, reflect.ValueOf(value).Elem()) }

func decodeValue(text []byte, v reflect.Value) error {
	whole := v.CanAddr() && v.Addr().Type().Implements(jsonUnmarshaler)
	switch v.Kind() {
	case reflect.Pointer:
		if whole || v.Type().Implements(jsonUnmarshaler) || bytes.Equal(text, []byte("null")) {
			break
		}
		made := reflect.New(v.Type().Elem())
		if err := decodeValue(text, made.Elem()); err != nil {
			return err
		}
		v.Set(made)
		return nil
	case reflect.Struct:
		if fields, ok := fieldsOf(v.Type()); ok && !whole && !marshals(v.Type()) {
			return decodeStruct(text, v, fields)
		}
	}
	return json.Unmarshal(text, v.Addr().Interface())
}

func decodeStruct(text []byte, v reflect.Value, fields []field) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return err
	}
	for _, f := range fields {
		if member, ok := members[f.name]; ok {
			if err := decodeValue(member, v.Field(f.index)); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	return nil
}
