package linklocal

import (
	"encoding/json"
	"net/http"
	"strings"
)

// metadata serves GET /v4/ID and GET /v4/ID/task. A task sees its own containers only.
func (v *vpcServer) metadata(w http.ResponseWriter, r *http.Request) {
	task, known := v.asker(r)
	rest, isV4 := strings.CutPrefix(r.URL.Path, "/v4/")
	id, what, _ := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
	c, ours := task.Containers[id]
	if !known || !isV4 || !ours || r.Method != http.MethodGet {
		reply(w, http.StatusNotFound, "V4 container metadata handler: unable to get container ID from request: unable to get docker ID from v3 endpoint ID: "+id)
		return
	}
	switch what {
	case "":
		reply(w, http.StatusOK, c)
	case "task":
		reply(w, http.StatusOK, task.Metadata)
	default:
		reply(w, http.StatusNotFound, "V4 metadata handler: Lotse does not serve /"+what)
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
