// Package accesslog writes the access logs and the connection logs of load balancers to a directory as ALB writes them to S3:
//
//	DIR/BUCKET/[PREFIX/]AWSLogs/ACCOUNT/elasticloadbalancing/REGION/2026/01/31/
//	    ACCOUNT_elasticloadbalancing_REGION_app.NAME.ID_20260131T2340Z_10.0.0.7_1f2e3d4c.log.gz
//	    conn_log.ACCOUNT_elasticloadbalancing_REGION_app.NAME.ID_20260131T2340Z_10.0.0.7_1f2e3d4c.log.gz
//
// Every file has five minutes, and is there when they are over. Until then its lines are in a file of the same name
// under DIR/.open, where a next server finds them. Entries are asked for from the balancer, which keeps a bounded number
// of them and never waits; like ALB's, the log is no complete account.
package accesslog

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// window is what one file covers. Source: ALB user guide, access log files.
const window = 5 * time.Minute

// lookAgain is the longest time until files whose window is over are finished.
const lookAgain = 10 * time.Second

// position is the file, in the open directory, with the number of the next entry.
const position = "position"

// Client is what the writer asks of the balancer process: lbconfig.Client.
type Client interface {
	AccessLog(ctx context.Context, from int64) (lbconfig.LogBatch, error)
}

// Options is what the writer needs to know of its surroundings.
type Options struct {
	DB     *store.DB
	Client Client
	Dir    string
	// Cap is how many bytes all finished files may have; the oldest go. 0 is 1 GiB.
	Cap int64
	Log *slog.Logger // nil: slog.Default
}

// Writer is the one writer of the directory.
type Writer struct {
	o      Options
	lost   int64
	recent recent
}

// New makes a writer. It starts nothing.
func New(o Options) *Writer {
	if o.Cap == 0 {
		o.Cap = 1 << 30
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Writer{o: o}
}

// Run works until ctx is done and returns nil then.
func (w *Writer) Run(ctx context.Context) error {
	from := w.position()
	failing := false
	for ctx.Err() == nil {
		next, err := w.pull(ctx, from)
		if err == nil {
			from = next
			err = finish(w.o.Dir, time.Now(), w.o.Cap)
		}
		if ctx.Err() != nil {
			break
		}
		if (err != nil) != failing {
			if failing = err != nil; failing {
				w.o.Log.Warn("access logs are not written", "err", err)
			} else {
				w.o.Log.Info("access logs are written again")
			}
		}
		if err != nil {
			sleep(ctx, time.Second)
		}
	}
	return nil
}

// Private

// pull asks for entries once, and writes them down.
func (w *Writer) pull(ctx context.Context, from int64) (int64, error) {
	asking, cancel := context.WithTimeout(ctx, lookAgain)
	defer cancel()
	b, err := w.o.Client.AccessLog(asking, from)
	if err != nil {
		if errors.Is(asking.Err(), context.DeadlineExceeded) {
			return from, nil // nothing new
		}
		return from, err
	}
	if b.Lost > w.lost {
		w.o.Log.Warn("entries of access logs were lost: they came faster than they were read", "entries", b.Lost-w.lost)
	}
	w.lost = b.Lost
	if len(b.Entries) == 0 {
		return b.Next, nil
	}
	if err := w.write(ctx, b.Entries); err != nil {
		return from, err
	}
	return b.Next, w.savePosition(b.Next)
}

// write appends each entry to the file of its balancer and window.
func (w *Writer) write(ctx context.Context, entries []lbconfig.LogEntry) error {
	lines := map[string]*strings.Builder{}
	var written []lbconfig.LogEntry
	err := w.o.DB.View(ctx, func(tx *store.ReadTx) error {
		type log struct {
			balancer   string
			connection bool
		}
		known := map[log]*destination{}
		for _, e := range entries {
			of := log{e.Balancer, e.Connection}
			d, ok := known[of]
			if !ok {
				var err error
				if d, err = destinationOf(tx, e.Balancer, e.Connection); err != nil {
					return err
				}
				known[of] = d
			}
			if d == nil {
				continue // switched off, or gone
			}
			f := d.file(e.Time)
			if lines[f] == nil {
				lines[f] = &strings.Builder{}
			}
			lines[f].WriteString(e.Line + "\n")
			if !e.Connection {
				written = append(written, e)
			}
		}
		return nil
	})
	for file, text := range lines {
		if err == nil {
			err = appendTo(filepath.Join(w.o.Dir, openDir, file), text.String())
		}
	}
	if err != nil {
		return err
	}
	for _, e := range written {
		w.recent.add(e.Balancer, e.Line)
	}
	return nil
}

// destination is where one of a balancer's logs goes.
type destination struct {
	scope                          arn.Scope
	bucket, prefix, kind, name, ip string
}

// destinationOf is nil for a balancer that is gone, or does not log that.
func destinationOf(tx store.Reader, balancer string, connection bool) (*destination, error) {
	a, err := arn.Parse(balancer)
	if err != nil {
		return nil, nil
	}
	sc := arn.Scope{Account: a.Account, Region: a.Region}
	o, err := state.LoadBalancers.Get(tx, state.ELBKey(sc, "loadbalancer", balancer))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, kind := o.Val, ""
	to := b.AccessLogs
	if connection {
		to, kind = b.ConnectionLogs, "conn_log."
	}
	if !to.Enabled {
		return nil, nil
	}
	d := &destination{scope: sc, bucket: to.Bucket, prefix: to.Prefix, kind: kind, name: "app." + b.Name + "." + b.ID, ip: "0.0.0.0"}
	if len(b.ENIs) > 0 {
		if e, err := state.NetworkInterfaces.Get(tx, sc.Key(b.ENIs[0])); err == nil {
			d.ip = e.Val.Address
		}
	}
	return d, nil
}

// file is the path, below the directory, of the file with what happened then, without .gz.
// Source: ALB user guide, access log files, connection log files.
func (d *destination) file(t time.Time) string {
	end := t.UTC().Truncate(window).Add(window)
	stem := fmt.Sprintf("%s%s_elasticloadbalancing_%s_%s_%s_%s", d.kind, d.scope.Account, d.scope.Region, d.name, end.Format(endTime), d.ip)
	h := fnv.New32a() // in the place of a random string: the same file again after a crash
	h.Write([]byte(stem))
	return filepath.Join(d.bucket, d.prefix, "AWSLogs", d.scope.Account, "elasticloadbalancing", d.scope.Region,
		end.Format("2006/01/02"), fmt.Sprintf("%s_%08x.log", stem, h.Sum32()))
}

func (w *Writer) position() int64 {
	data, err := os.ReadFile(filepath.Join(w.o.Dir, openDir, position))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.o.Log.Warn("the position in the access log is lost; what the balancer has is written again", "err", err)
	}
	n, _ := strconv.ParseInt(string(data), 10, 64)
	return n
}

func (w *Writer) savePosition(n int64) error {
	path := filepath.Join(w.o.Dir, openDir, position)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", strconv.AppendInt(nil, n, 10), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
