package linklocal

import (
	"net/http"
	"net/netip"
)

// handler is everything that is served at port 80 of MetadataAddr. Who asks is told by the source
// address, which the network doesn't let a task forge.
func (v *vpcServer) handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /v2/credentials/{id}", v.credentials)
	m.HandleFunc("GET /v2/credentials/", v.credentials)
	m.HandleFunc("GET /api/{id}/task-protection/v1/state", v.protection)
	m.HandleFunc("PUT /api/{id}/task-protection/v1/state", v.protection)
	m.HandleFunc("GET /v4/", v.metadata)
	m.HandleFunc("GET /v3/", v.metadata)
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusNotFound, "404 page not found") })
	return m
}

// credentials serves GET /v2/credentials/ID. A task gets its own only.
// Source of the errors: ECS agent, v1 credentials handler.
func (v *vpcServer) credentials(w http.ResponseWriter, r *http.Request) {
	task, known := v.asker(r)
	switch id := r.PathValue("id"); {
	case id == "":
		refuseCredentials(w, http.StatusBadRequest, "NoIdInRequest", "CredentialsV2Request: No Credential ID in the request")
	case !known || task.CredentialsID != id:
		refuseCredentials(w, http.StatusBadRequest, "InvalidIdInRequest", "CredentialsV2Request: Credentials not found")
	case task.Credentials == nil:
		refuseCredentials(w, http.StatusServiceUnavailable, "CredentialsUninitialized", "CredentialsV2Request: Credentials uninitialized for ID")
	default:
		reply(w, http.StatusOK, task.Credentials)
	}
}

// Private

// asker is the task that sent a request.
func (v *vpcServer) asker(r *http.Request) (Task, bool) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return Task{}, false
	}
	t, ok := v.vpc.Load().Tasks[from.Addr()]
	return t, ok
}

func refuseCredentials(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Status  int    `json:"HTTPErrorCode"`
	}{code, message, status})
}
