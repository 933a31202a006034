// Package metric keeps what load balancers measure as time series, under CloudWatch's names and with its statistics: one
// point for each minute, of each balancer and of each target group at a balancer.
//
// The balancer's process measures, and keeps the last hour; a [Recorder] writes what is over into one stream of segments. So
// nothing is lost while the server is away, or when another process takes the balancer's place; a minute at most when that is
// killed. Points are read by [Store.Query]; CloudWatch's API would stand on it.
package metric

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/segment"
)

const (
	// keep is how long points are kept. Source: CloudWatch user guide, metrics retention: 15 days for periods of a minute.
	keep = 15 * 24 * time.Hour
	// maxBytes bounds the stream; the oldest points go.
	maxBytes = 256 << 20
	// again is the pause after a failure.
	again = time.Second
)

// Store reads what was recorded in a directory.
type Store struct{ dir string }

// NewStore reads what a Recorder writes there.
func NewStore(dir string) Store { return Store{dir} }

// Query asks for one metric.
type Query struct {
	Balancer   string        // ARN
	Group      string        // ARN; "": the balancer's own series
	Zone       string        // availability zone; "": all together
	Name       string        // CloudWatch's, such as RequestCount
	Start, End time.Time     // points that begin at Start or later, and before End
	Period     time.Duration // whole minutes; 0 is one
}

// Point is what was measured in a period. Min and Max of times are those of their buckets.
type Point struct {
	Time time.Time // the period's begin
	lbconfig.Sample
}

// Query gives the points of a metric, oldest first; periods without a sample have none.
func (s Store) Query(q Query) ([]Point, error) {
	if q.Period == 0 {
		q.Period = time.Minute
	}
	if q.Period < time.Minute || q.Period%time.Minute != 0 {
		return nil, errors.New("a period has whole minutes")
	}
	points := map[time.Time]*Point{}
	err := s.scan(q.Start, q.End, func(at time.Time, x lbconfig.Series) {
		v, ok := x.Metrics[q.Name]
		if !ok || x.Balancer != q.Balancer || x.Group != q.Group || x.Zone != q.Zone {
			return
		}
		at = at.Truncate(q.Period)
		if points[at] == nil {
			points[at] = &Point{Time: at}
		}
		points[at].Add(v)
	})
	out := make([]Point, 0, len(points))
	for _, p := range points {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Point) int { return a.Time.Compare(b.Time) })
	return out, err
}

// Name is a metric that there are points of.
type Name struct{ Balancer, Group, Zone, Name string }

// Names lists what was measured in a time.
func (s Store) Names(start, end time.Time) ([]Name, error) {
	all := map[Name]bool{}
	err := s.scan(start, end, func(_ time.Time, x lbconfig.Series) {
		for name := range x.Metrics {
			all[Name{x.Balancer, x.Group, x.Zone, name}] = true
		}
	})
	return slices.SortedFunc(maps.Keys(all), func(a, b Name) int {
		return cmp.Or(cmp.Compare(a.Balancer, b.Balancer), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Name, b.Name))
	}), err
}

// Client is what a Recorder asks of the balancer's process: lbconfig.Client.
type Client interface {
	Minutes(ctx context.Context, from time.Time) ([]lbconfig.Minute, error)
}

// Recorder writes what the balancer's process has measured.
type Recorder struct {
	dir    string
	client Client
	log    *slog.Logger
}

// NewRecorder makes the one writer of a directory. It starts nothing.
func NewRecorder(dir string, c Client, log *slog.Logger) *Recorder { return &Recorder{dir, c, log} }

// Run records until ctx is done, and returns nil then.
func (r *Recorder) Run(ctx context.Context) error {
	w, err := segment.OpenWriter(r.dir, segment.WriterOptions{MaxBytes: maxBytes})
	if err != nil {
		return err
	}
	defer w.Close()
	for ctx.Err() == nil {
		if err := r.pull(ctx, w); err != nil && ctx.Err() == nil {
			r.log.Debug("nothing recorded", "err", err)
			sleep(ctx, again)
		}
	}
	return nil
}

// Private

// pull asks once, for what begins after the last minute that was written.
func (r *Recorder) pull(ctx context.Context, w *segment.Writer) error {
	from := time.Unix(0, 0)
	if last := w.Newest(); !last.IsZero() {
		from = last.Add(time.Minute)
	}
	list, err := r.client.Minutes(ctx, from)
	if err != nil {
		return err
	}
	for _, m := range list {
		data, err := pack(m)
		if err != nil {
			return err
		}
		if len(data) > segment.MaxData {
			r.log.Warn("a minute's points are dropped: they are too many", "series", len(m.Series), "bytes", len(data))
			continue
		}
		if err := w.Append(segment.Event{Time: m.Time, Data: data}); err != nil {
			return err
		}
	}
	_, err = segment.Trim(r.dir, 0, time.Now().Add(-keep))
	return err
}

func (s Store) scan(start, end time.Time, fn func(at time.Time, x lbconfig.Series)) error {
	r, err := segment.OpenReader(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pos, _, err := r.SeekTime(start)
	if err != nil {
		return err
	}
	var bad error
	err = r.Scan(pos, func(e segment.Event) bool {
		if e.Time.Before(start) {
			return true
		}
		if !e.Time.Before(end) {
			return false
		}
		var m lbconfig.Minute
		if m, bad = unpack(e.Data); bad != nil {
			bad = fmt.Errorf("points of %s: %w", e.Time, bad)
			return false
		}
		for _, x := range m.Series {
			fn(m.Time.UTC(), x)
		}
		return true
	})
	return errors.Join(err, bad)
}

// pack makes a minute some eight times shorter than its JSON.
func pack(m lbconfig.Minute) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	err := errors.Join(json.NewEncoder(z).Encode(m), z.Close())
	return b.Bytes(), err
}

func unpack(data []byte) (m lbconfig.Minute, err error) {
	if bytes.HasPrefix(data, []byte("{")) { // as it was written once
		return m, json.Unmarshal(data, &m)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return m, err
	}
	return m, json.NewDecoder(z).Decode(&m)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
