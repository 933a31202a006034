package linklocal

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestProtection_CallsAsTheTask(t *testing.T) {
	const arn = "arn:aws:ecs:eu-west-1:000000000000:task/c/t1"
	answer, status := "", 200
	var got string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = r.Header.Get("X-Amz-Target") + " " + string(b)
		if a := r.Header.Get("Authorization"); !strings.Contains(a, "Credential=ASIA1/") || !strings.Contains(a, "/eu-west-1/ecs/") || r.Header.Get("X-Amz-Security-Token") != "token" {
			t.Errorf("signed %q", a)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer api.Close()
	addr := strings.TrimPrefix(api.URL, "http://")
	task := Task{Metadata: TaskMetadata{Cluster: "c", TaskARN: arn}, Containers: map[string]ContainerMetadata{"t1-1": {}}, Credentials: &Credentials{AccessKeyID: "ASIA1", SecretAccessKey: "s", Token: "token"}}
	bare := task
	bare.Credentials = nil
	s := served(t, VPC{Tasks: map[netip.Addr]Task{netip.MustParseAddr("172.31.0.5"): task, netip.MustParseAddr("172.31.0.6"): bare, netip.MustParseAddr("172.31.0.7"): {}}})
	s.api.Store(&addr)
	for _, tc := range []struct {
		name, from, method, body string
		answer                   string
		answered                 int
		want                     string // what the API got
		status                   int
		reply                    string
	}{
		{"get", "172.31.0.5", "GET", "", `{"protectedTasks":[{"taskArn":"` + arn + `","protectionEnabled":true,"expirationDate":1.5}],"failures":[]}`, 200,
			`AmazonEC2ContainerServiceV20141113.GetTaskProtection {"cluster":"c","tasks":["` + arn + `"]}`, 200,
			`{"protection":{"ExpirationDate":"1970-01-01T00:00:01.5Z","ProtectionEnabled":true,"TaskArn":"` + arn + `"}}`},
		{"put", "172.31.0.5", "PUT", `{"ProtectionEnabled":true,"ExpiresInMinutes":60}`, `{"protectedTasks":[],"failures":[{"arn":"` + arn + `","reason":"TASK_NOT_VALID","detail":"d"}]}`, 200,
			`AmazonEC2ContainerServiceV20141113.UpdateTaskProtection {"cluster":"c","expiresInMinutes":60,"protectionEnabled":true,"tasks":["` + arn + `"]}`, 200,
			`{"failure":{"Arn":"` + arn + `","Detail":"d","Reason":"TASK_NOT_VALID"}}`},
		{"denied", "172.31.0.5", "PUT", `{"ProtectionEnabled":false}`, `{"__type":"x#AccessDeniedException","message":"no"}`, 400,
			`AmazonEC2ContainerServiceV20141113.UpdateTaskProtection {"cluster":"c","protectionEnabled":false,"tasks":["` + arn + `"]}`, 400,
			`{"error":{"Arn":"` + arn + `","Code":"AccessDeniedException","Message":"no"}}`},
		{"no flag", "172.31.0.5", "PUT", `{"ExpiresInMinutes":1}`, "", 0, "", 400, `{"error":{"Arn":"` + arn + `","Code":"InvalidParameterException","Message":"Invalid request: does not contain 'ProtectionEnabled' field"}}`},
		{"no role", "172.31.0.6", "GET", "", "", 0, "", 403, `{"error":{"Arn":"` + arn + `","Code":"AccessDeniedException","Message":"The task has no task role, which must allow ecs:GetTaskProtection."}}`},
		{"another task", "172.31.0.7", "GET", "", "", 0, "", 404, `{"error":{"Code":"ResourceNotFoundException","Message":"Failed to find a task for the request"}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, answer, status = "", tc.answer, tc.answered
			r := httptest.NewRequest(tc.method, "/api/t1-1/task-protection/v1/state", strings.NewReader(tc.body))
			r.RemoteAddr = tc.from + ":9"
			w := httptest.NewRecorder()
			s.handler().ServeHTTP(w, r)
			if got != tc.want {
				t.Errorf("the API got %s\nwant %s", got, tc.want)
			}
			if w.Code != tc.status || strings.TrimSpace(w.Body.String()) != tc.reply {
				t.Errorf("%d %s\nwant %d %s", w.Code, w.Body, tc.status, tc.reply)
			}
		})
	}
}
