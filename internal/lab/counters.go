package lab

import (
	"reflect"

	"github.com/ropeway/ropeway/internal/link"
)

// add adds the counters of a link to a sum. The most that waited anywhere is
// no sum.
func add(sum *link.Counters, c link.Counters) {
	ab, ba := max(sum.AB.MaxQueueBytes, c.AB.MaxQueueBytes), max(sum.BA.MaxQueueBytes, c.BA.MaxQueueBytes)
	addFields(reflect.ValueOf(sum).Elem(), reflect.ValueOf(c))
	sum.AB.MaxQueueBytes, sum.BA.MaxQueueBytes = ab, ba
}

// addFields adds numbers field by field.
func addFields(to, from reflect.Value) {
	for i := range to.NumField() {
		switch f := to.Field(i); f.Kind() {
		case reflect.Struct:
			addFields(f, from.Field(i))
		case reflect.Int64:
			f.SetInt(f.Int() + from.Field(i).Int())
		}
	}
}
