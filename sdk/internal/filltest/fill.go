// Package filltest helps tests of conversions: a value in which every field is set must come back from the other form unchanged, so that no field
// can be forgotten.
package filltest

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

// Values are made for types that not every value fits: function fields by type.
type Values map[reflect.Type]func(n int) any

func (v Values) set(target reflect.Value, n int) bool {
	f, ok := v[target.Type()]
	if ok {
		target.Set(reflect.ValueOf(f(n)))
	}
	return ok
}

// Fill sets every exported field of *target, down to the last: a pointer points to a full value, a slice has two elements, a map one. Of structs that
// are "exactly one of" their pointers, choose leaves the one with that index (modulo their number).
func Fill(target any, values Values, oneOf []reflect.Type, choose int) {
	f := filler{values: values, oneOf: oneOf, choose: choose}
	f.fill(reflect.ValueOf(target).Elem())
}

type filler struct {
	values Values
	oneOf  []reflect.Type
	choose int
	n      int
}

func (f *filler) fill(v reflect.Value) {
	f.n++
	if f.values.set(v, f.n) {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text-%d", f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(int64(f.n))
	case reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint8:
		v.SetUint(uint64(f.n % 200))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(key)
		f.fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		f.fillStruct(v)
	default:
		panic("cannot fill a " + v.Type().String())
	}
}

func (f *filler) fillStruct(v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(int64(f.n), 5).UTC()))
		return
	}
	var pointers []reflect.Value
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		f.fill(v.Field(i))
		if v.Field(i).Kind() == reflect.Pointer {
			pointers = append(pointers, v.Field(i))
		}
	}
	for _, t := range f.oneOf {
		if t != v.Type() {
			continue
		}
		for i, p := range pointers {
			if i != f.choose%len(pointers) {
				p.SetZero()
			}
		}
	}
}

// RoundTrip fills a T, sends it there and back, and reports what changed. It does so for choices 0 to 3 of "exactly one of" structs.
func RoundTrip[T any](t *testing.T, name string, values Values, oneOf []reflect.Type, thereAndBack func(T) T) {
	t.Helper()
	for choose := range 4 {
		var full T
		Fill(&full, values, oneOf, choose)
		if got := thereAndBack(full); !reflect.DeepEqual(got, full) {
			t.Errorf("%s changed (choice %d):\nbefore %+v\nafter  %+v", name, choose, full, got)
		}
	}
}
