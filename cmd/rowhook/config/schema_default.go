package config

import (
	"reflect"
	"strconv"
	"time"

	"rowhook/delivery"
)

// prototypes are config structs with their defaults, by type, for the schema to tell.
func prototypes() map[reflect.Type]reflect.Value {
	byType := map[reflect.Type]reflect.Value{}
	var add func(v reflect.Value)
	add = func(v reflect.Value) {
		byType[v.Type()] = v
		for _, f := range specOf(v.Type()).fields {
			if member := v.FieldByIndex(f.index); shapeOf(f.typ) == shapeObject {
				add(member)
			}
		}
	}
	c := defaultConfig(".")
	add(reflect.ValueOf(*c))
	add(reflect.ValueOf(c.products.Defaults(delivery.DefaultFormat))) // in place of the empty one that holds the section `defaults`
	return byType
}

// asWritten is a default as the config file writes it, and false for none.
func asWritten(v reflect.Value, f *field) (any, bool) {
	if v.IsZero() {
		return nil, false
	}
	switch value := v.Interface().(type) {
	case time.Duration:
		return writtenDuration(value), true
	case delivery.Percent:
		return strconv.FormatFloat(float64(value)*100, 'f', -1, 64) + "%", true
	case string, bool, float64, []string:
		return value, true
	case int64:
		if f.size {
			return writtenSize(value), true
		}
		return value, true
	case int:
		return value, true
	}
	return nil, false
}

// writtenSize writes a size with its largest whole unit: 10GiB, 64MiB, 100B.
func writtenSize(n int64) string {
	units, unit := []string{"B", "KiB", "MiB", "GiB", "TiB"}, 0
	for ; n != 0 && n%(1<<10) == 0 && unit < len(units)-1; unit++ {
		n >>= 10
	}
	return strconv.FormatInt(n, 10) + units[unit]
}

// writtenDuration writes a duration with its largest whole unit, but hours below three days: 30d,
// 72h, 10ms.
func writtenDuration(d time.Duration) string {
	for _, unit := range []struct {
		size, from time.Duration
		name       string
	}{
		{24 * time.Hour, 96 * time.Hour, "d"}, {time.Hour, 0, "h"}, {time.Minute, 0, "m"}, {time.Second, 0, "s"},
	} {
		if d >= unit.from && d%unit.size == 0 {
			return strconv.FormatInt(int64(d/unit.size), 10) + unit.name
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}
