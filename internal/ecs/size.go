package ecs

import (
	"bytes"
	"encoding/json"
)

// jsonSize is how many bytes of JSON the set members of an SDK struct make: what AWS's size limits are about.
func jsonSize(v any) int {
	var all any
	b, _ := json.Marshal(v)
	_ = json.Unmarshal(b, &all)
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	_ = e.Encode(withoutNulls(all))
	return out.Len() - 1 // Encode ends the line
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if v[k] = withoutNulls(x); v[k] == nil || v[k] == "" { // an enum that isn't set is ""
				delete(v, k)
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutNulls(v[i])
		}
	}
	return v
}
