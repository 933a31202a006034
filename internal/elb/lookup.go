package elb

import (
	"iter"
	"slices"
	"strings"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/store"
)

func collect[T any](list iter.Seq2[store.Object[T], error]) ([]store.Object[T], error) {
	var out []store.Object[T]
	for o, err := range list {
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

func keyOfObject[T any](o store.Object[T]) string { return o.Key }

// pick keeps the records that the ARNs name, all of which must be there.
func pick[T any](sc arn.Scope, typ string, all []store.Object[T], arns []string, gone *awswire.Error) ([]store.Object[T], error) {
	var out []store.Object[T]
	for _, given := range arns {
		key, err := keyOf(sc, typ, given)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(all, func(o store.Object[T]) bool { return o.Key == key })
		if i < 0 {
			return nil, gone
		}
		if !slices.ContainsFunc(out, func(o store.Object[T]) bool { return o.Key == key }) {
			out = append(out, all[i])
		}
	}
	slices.SortFunc(out, func(a, b store.Object[T]) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}
