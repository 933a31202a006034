package linklocal

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// metadata serves what is under ECS_CONTAINER_METADATA_URI_V4 and ECS_CONTAINER_METADATA_URI:
//
//	GET /v4/ID                the container     GET /v4/ID/stats        its use of the machine
//	GET /v4/ID/task           the task          GET /v4/ID/task/stats   that of all its containers
//	GET /v4/ID/taskWithTags   and its tags
//
// A task sees its own containers only.
func (v *vpcServer) metadata(w http.ResponseWriter, r *http.Request) {
	task, known := v.asker(r)
	id, what, _ := strings.Cut(strings.Trim(r.URL.Path[len("/v4/"):], "/"), "/")
	c, ours := task.Containers[id]
	if !known || !ours {
		reply(w, http.StatusNotFound, "V4 container metadata handler: unable to get container ID from request: unable to get docker ID from v3 endpoint ID: "+id)
		return
	}
	switch what {
	case "":
		reply(w, http.StatusOK, c)
	case "task":
		m := v.now(task)
		m.TaskTags = nil
		reply(w, http.StatusOK, m)
	case "taskWithTags":
		reply(w, http.StatusOK, v.now(task))
	case "stats":
		reply(w, http.StatusOK, v.stats.of(task, c))
	case "task/stats":
		all := map[string]*Stats{}
		for id, c := range task.Containers {
			all[id] = v.stats.of(task, c)
		}
		reply(w, http.StatusOK, all)
	default:
		http.NotFound(w, r)
	}
}

// Private

// now is the metadata with what only this moment tells.
func (v *vpcServer) now(t Task) TaskMetadata {
	m := t.Metadata
	m.ClockDrift = clock()
	if e := m.EphemeralStorageMetrics; e != nil {
		m.EphemeralStorageMetrics = &EphemeralStorageMetrics{Reserved: e.Reserved, Utilized: storageOf(*v.storage.Load(), m.TaskARN)}
	}
	return m
}

// clock asks the kernel. Source: adjtimex(2): maxerror in µs, TIME_ERROR while nobody sets the clock.
func clock() *ClockDrift {
	var x unix.Timex
	state, err := unix.Adjtimex(&x)
	d := &ClockDrift{ClockErrorBound: float64(x.Maxerror) / 1000, ReferenceTimestamp: time.Now().UTC(), ClockSynchronizationStatus: "SYNCHRONIZED"}
	if err != nil || state == unix.TIME_ERROR {
		d.ClockSynchronizationStatus = "NOT_SYNCHRONIZED"
	}
	return d
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
