package lbconfig

import (
	"fmt"
	"slices"
	"strings"
)

// Engines serve HTTP/1.1; HTTP/2 and upgrades to other protocols are net/http's with either.
const (
	EngineStd  = "std"  // net/http
	EngineFast = "fast" // the balancer's own
	// DefaultEngine is the one that serves where none is named.
	DefaultEngine = EngineFast
)

var engines = []string{EngineStd, EngineFast}

// CheckEngine says what is wrong with the name of an engine.
func CheckEngine(name string) error {
	if slices.Contains(engines, name) {
		return nil
	}
	return fmt.Errorf("%q: the engines are %s", name, strings.Join(engines, " and "))
}
