package linklocal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// protection serves GET and PUT $ECS_AGENT_URI/task-protection/v1/state: it calls the API in the
// name of the task, whose role must allow it. Source: DG task-scale-in-protection-endpoint.
func (v *vpcServer) protection(w http.ResponseWriter, r *http.Request) {
	task, known := v.asker(r)
	if _, ours := task.Containers[r.PathValue("id")]; !known || !ours {
		reply(w, http.StatusNotFound, agentAnswer{Error: &agentError{Code: "ResourceNotFoundException", Message: "Failed to find a task for the request"}})
		return
	}
	arn := task.Metadata.TaskARN
	op, in := "GetTaskProtection", map[string]any{"cluster": task.Metadata.Cluster, "tasks": []string{arn}}
	if r.Method == http.MethodPut {
		var body struct {
			ProtectionEnabled *bool
			ExpiresInMinutes  *int
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&body); err != nil || body.ProtectionEnabled == nil {
			text := "Invalid request: does not contain 'ProtectionEnabled' field"
			if err != nil {
				text = "UpdateTaskProtection: failed to decode request"
			}
			reply(w, http.StatusBadRequest, agentAnswer{Error: &agentError{ARN: arn, Code: "InvalidParameterException", Message: text}})
			return
		}
		op, in["protectionEnabled"] = "UpdateTaskProtection", *body.ProtectionEnabled
		if body.ExpiresInMinutes != nil {
			in["expiresInMinutes"] = *body.ExpiresInMinutes
		}
	}
	status, out := v.call(r, task, op, in)
	reply(w, status, out)
}

// Private

// agentAnswer has one of its members.
type agentAnswer struct {
	RequestID  string           `json:"requestID,omitempty"`
	Protection *agentProtection `json:"protection,omitempty"`
	Failure    *agentFailure    `json:"failure,omitempty"`
	Error      *agentError      `json:"error,omitempty"`
}

type agentProtection struct {
	ExpirationDate    *time.Time `json:",omitempty"`
	ProtectionEnabled bool
	TaskARN           string `json:"TaskArn"`
}

type agentFailure struct {
	ARN    string `json:"Arn"`
	Detail string
	Reason string
}

type agentError struct {
	ARN     string `json:"Arn,omitempty"`
	Code    string
	Message string
}

// call asks ECS as the task, and puts its answer into the agent's form.
func (v *vpcServer) call(r *http.Request, t Task, op string, in any) (int, agentAnswer) {
	failed := func(status int, code, text string) (int, agentAnswer) {
		return status, agentAnswer{Error: &agentError{t.Metadata.TaskARN, code, text}}
	}
	if t.Credentials == nil {
		return failed(http.StatusForbidden, "AccessDeniedException", "The task has no task role, which must allow ecs:"+op+".")
	}
	body, err := json.Marshal(in)
	if err != nil {
		return failed(http.StatusInternalServerError, "ServerException", err.Error())
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, "http://"+*v.api.Load()+"/", bytes.NewReader(body))
	if err != nil {
		return failed(http.StatusInternalServerError, "ServerException", err.Error())
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113."+op)
	sum := sha256.Sum256(body)
	region := strings.SplitN(t.Metadata.TaskARN+":::::", ":", 6)[3]
	key := aws.Credentials{AccessKeyID: t.Credentials.AccessKeyID, SecretAccessKey: t.Credentials.SecretAccessKey, SessionToken: t.Credentials.Token}
	if err := v4.NewSigner().SignHTTP(r.Context(), key, req, hex.EncodeToString(sum[:]), "ecs", region, time.Now()); err != nil {
		return failed(http.StatusInternalServerError, "ServerException", err.Error())
	}
	resp, err := apiClient.Do(req)
	if err != nil {
		return failed(http.StatusGatewayTimeout, "RequestCanceled", "The Lotse server is not running.")
	}
	defer resp.Body.Close()
	var out struct {
		ProtectedTasks []struct {
			TaskARN           string   `json:"taskArn"`
			ProtectionEnabled bool     `json:"protectionEnabled"`
			ExpirationDate    *float64 `json:"expirationDate"` // Unix seconds
		} `json:"protectedTasks"`
		Failures []struct{ ARN, Reason, Detail string } `json:"failures"`
		Type     string                                 `json:"__type"`
		Message  string                                 `json:"message"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return failed(http.StatusInternalServerError, "ServerException", fmt.Sprintf("%s: %v", op, err))
	}
	id := resp.Header.Get("X-Amzn-Requestid")
	switch {
	case resp.StatusCode != http.StatusOK:
		status, a := failed(resp.StatusCode, out.Type[strings.LastIndexByte(out.Type, '#')+1:], out.Message)
		a.RequestID = id
		return status, a
	case len(out.Failures) > 0:
		f := out.Failures[0]
		return http.StatusOK, agentAnswer{RequestID: id, Failure: &agentFailure{f.ARN, f.Detail, f.Reason}}
	case len(out.ProtectedTasks) == 0:
		return failed(http.StatusInternalServerError, "ServerException", "Unexpected error when getting the task's protection")
	}
	p := out.ProtectedTasks[0]
	a := agentAnswer{Protection: &agentProtection{ProtectionEnabled: p.ProtectionEnabled, TaskARN: p.TaskARN}}
	if p.ExpirationDate != nil {
		at := time.UnixMilli(int64(*p.ExpirationDate * 1000)).UTC()
		a.Protection.ExpirationDate = &at
	}
	return http.StatusOK, a
}

// apiClient speaks with the server, on this machine.
var apiClient = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{IdleConnTimeout: 10 * time.Second}}
