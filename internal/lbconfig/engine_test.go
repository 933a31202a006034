package lbconfig

import "testing"

func TestCheckEngine(t *testing.T) {
	for name, ok := range map[string]bool{EngineStd: true, EngineFast: true, "": false, "Fast": false, "nginx": false} {
		if err := CheckEngine(name); (err == nil) != ok {
			t.Errorf("CheckEngine(%q) = %v", name, err)
		}
	}
}
