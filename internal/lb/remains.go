package lb

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// What a worker that ends, or retires, leaves in its home for the one that serves after it: one file each time.
const (
	remainsFiles = "lb-remains.*.json"
	remainsFile  = "lb-remains.%d.json" // ns since 1970
	// inheritEvery is how often a worker looks whether another has left something.
	inheritEvery = time.Second
)

// remains is what nobody has read: whole minutes, what there is of the one that runs, and entries of the logs.
type remains struct {
	Minutes []lbconfig.Minute
	Part    lbconfig.Minute
	Log     string `json:",omitempty"`
}

// leave writes down what nobody has read yet, so that it goes to another worker.
func (w *worker) leave() {
	r := remains{Log: string(w.proxy.access.take())}
	r.Minutes, r.Part = w.minutes.take(time.Now())
	if len(r.Minutes) == 0 && len(r.Part.Series) == 0 && r.Log == "" {
		return
	}
	data, err := json.Marshal(r)
	if err == nil {
		err = replaceFile(w.home.dir, fmt.Sprintf(remainsFile, time.Now().UnixNano()), data)
	}
	if err != nil {
		w.log.Warn("what was measured and logged last is lost", "err", err)
	}
}

// inherit takes what others leave, until ctx ends or the worker itself has to leave.
func (w *worker) inherit(ctx context.Context) {
	for !w.proxy.retiring.Load() {
		w.collect()
		if !pause(ctx, inheritEvery) {
			return
		}
	}
}

// collect takes what others have left. A file is removed before it counts: whoever is killed meanwhile loses it, and
// nothing counts twice.
func (w *worker) collect() {
	files, _ := filepath.Glob(filepath.Join(w.home.dir, remainsFiles)) // the pattern is good
	for _, f := range files {
		var r remains
		data, err := os.ReadFile(f)
		if err == nil {
			err = json.Unmarshal(data, &r)
		}
		if e := os.Remove(f); e != nil {
			w.log.Warn("what another worker measured and logged is left where it is", "err", e)
			continue
		}
		if err != nil {
			w.log.Warn("what another worker measured and logged is lost", "err", err)
			continue
		}
		w.minutes.inherit(append(r.Minutes, r.Part), time.Now())
		w.proxy.access.inherit([]byte(r.Log))
	}
}
