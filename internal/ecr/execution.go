package ecr

import (
	"time"

	"github.com/lotse-project/lotse/internal/lifecycle"
	"github.com/lotse-project/lotse/internal/state"
)

// An execution is the event that says what a lifecycle policy has done.
// Source: ECR user guide, "Example: Image lifecycle policy action", and CloudTrail events that users have published.
type execution struct {
	EventTime   time.Time          `json:"eventTime"`
	EventSource string             `json:"eventSource"`
	EventName   string             `json:"eventName"`
	AWSRegion   string             `json:"awsRegion"`
	EventType   string             `json:"eventType"`
	AccountID   string             `json:"recipientAccountId"`
	Resources   []executionSubject `json:"resources"`
	Details     executionDetails   `json:"serviceEventDetails"`
}

type executionSubject struct {
	ARN       string `json:"ARN"`
	AccountID string `json:"accountId"`
	Type      string `json:"type"`
}

type executionDetails struct {
	Repository string            `json:"repositoryName"`
	Policy     executionPolicy   `json:"lifecycleEventPolicy"`
	Actions    []executionAction `json:"lifecycleEventImageActions"`
}

type executionPolicy struct {
	Rules []executionRule `json:"lifecycleEventRules"`
}

type executionRule struct {
	Priority    int                `json:"rulePriority"`
	Description string             `json:"description"`
	Selection   executionSelection `json:"lifecycleEventSelection"`
	Action      string             `json:"action"`
}

type executionSelection struct {
	TagStatus   string   `json:"tagStatus"`
	Prefixes    []string `json:"tagPrefixList"`
	Patterns    []string `json:"tagPatternList"`
	CountType   string   `json:"countType"`
	CountNumber int      `json:"countNumber"`
}

type executionAction struct {
	Image    executionImage `json:"lifecycleEventImage"`
	Priority int            `json:"rulePriority"`
}

type executionImage struct {
	Digest    string   `json:"digest"`
	TagStatus string   `json:"tagStatus"`
	Tags      []string `json:"tagList"`
	PushedAt  int64    `json:"pushedAt"` // Unix milliseconds
}

// Private

func newExecution(r state.Repository, gone []state.LifecycleExpiry, now time.Time) execution {
	e := execution{EventTime: now, EventSource: "ecr.amazonaws.com", EventName: "PolicyExecutionEvent", AWSRegion: r.Scope.Region,
		EventType: "AwsServiceEvent", AccountID: r.Scope.Account,
		Resources: []executionSubject{{r.ARN(), r.Scope.Account, "AWS::ECR::Repository"}}, Details: executionDetails{Repository: r.Name}}
	p, _ := lifecycle.Parse(r.Lifecycle) // it has just been evaluated
	for _, rule := range p.Rules {
		e.Details.Policy.Rules = append(e.Details.Policy.Rules, executionRule{rule.Priority, rule.Description, executionSelection{
			TagStatus: words[rule.TagStatus], Prefixes: orEmpty(rule.Prefixes), Patterns: orEmpty(rule.Patterns),
			CountType: words[rule.CountType], CountNumber: rule.CountNumber}, "expire"})
	}
	for _, g := range gone {
		i := executionImage{Digest: g.Digest, TagStatus: words[lifecycle.Untagged], Tags: orEmpty(g.Tags), PushedAt: g.PushedAt.UnixMilli()}
		if len(g.Tags) > 0 {
			i.TagStatus = words[lifecycle.Tagged]
		}
		e.Details.Actions = append(e.Details.Actions, executionAction{i, g.Priority})
	}
	return e
}

// words are how the event spells a policy's values.
var words = map[string]string{
	lifecycle.Any: "Any", lifecycle.Tagged: "Tagged", lifecycle.Untagged: "Untagged",
	lifecycle.CountMoreThan: "Image count more than", lifecycle.SincePushed: "Since image pushed",
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
