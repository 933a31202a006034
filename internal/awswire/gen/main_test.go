package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestGenerate_TablesAreCurrent generates all again: the files are what go generate writes, and the
// SDK's sources still have the form that gen reads.
func TestGenerate_TablesAreCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("reads the SDK's sources")
	}
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not current; run go generate in internal/awswire", name)
		}
	}
}
