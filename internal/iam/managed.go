package iam

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// managedJSON holds AWS's own managed policies that roles for containers have.
// Source: AWS Managed Policy Reference Guide, as of May 2026.
//
//go:embed managed.json
var managedJSON []byte

// A managedPolicy is one of AWS's, in its default version.
type managedPolicy struct {
	Name     string          `json:"name"`
	Path     string          `json:"path"`
	Version  string          `json:"version"` // v1, v2, …
	Created  time.Time       `json:"created"`
	Updated  time.Time       `json:"updated"`
	Document json.RawMessage `json:"document"`
}

// managed is all of them by ARN.
var managed = func() map[string]managedPolicy {
	var list []managedPolicy
	if err := json.Unmarshal(managedJSON, &list); err != nil {
		panic("iam: managed.json: " + err.Error())
	}
	m := map[string]managedPolicy{}
	for _, p := range list {
		m[p.arn()] = p
	}
	return m
}()

func (p managedPolicy) arn() string {
	return arn.ARN{Partition: "aws", Service: "iam", Account: "aws", Resource: "policy" + p.Path + p.Name}.String()
}

// GetPolicy shows a managed policy.
func (s *Service) GetPolicy(ctx context.Context, in *iam.GetPolicyInput) (*iam.GetPolicyOutput, error) {
	if err := onlyMembers(in, "PolicyArn"); err != nil {
		return nil, err
	}
	p, err := findManaged(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	attached := int32(0)
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for r, err := range state.Roles.List(tx, state.RoleKey(account(ctx), "")) {
			if err != nil {
				return err
			}
			if slices.Contains(r.Val.Attached, p.arn()) {
				attached++
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// AWS's real id isn't published; this one is the same everywhere and always.
	sum := sha256.Sum256([]byte(p.arn()))
	return &iam.GetPolicyOutput{Policy: &types.Policy{
		Arn: aws.String(p.arn()), PolicyName: &p.Name, PolicyId: aws.String("ANPA" + idText(sum[:17])), Path: &p.Path,
		DefaultVersionId: &p.Version, AttachmentCount: &attached, PermissionsBoundaryUsageCount: aws.Int32(0),
		IsAttachable: true, CreateDate: &p.Created, UpdateDate: &p.Updated,
	}}, nil
}

// GetPolicyVersion shows a managed policy's document. Only the default version is kept.
func (s *Service) GetPolicyVersion(ctx context.Context, in *iam.GetPolicyVersionInput) (*iam.GetPolicyVersionOutput, error) {
	if err := onlyMembers(in, "PolicyArn", "VersionId"); err != nil {
		return nil, err
	}
	var c check
	version := c.required("versionId", in.VersionId, versionID)
	if err := c.err(); err != nil {
		return nil, err
	}
	p, err := findManaged(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	if version != p.Version {
		return nil, noSuchEntity("Policy %s version %s does not exist or is not attachable.", p.arn(), version)
	}
	var doc bytes.Buffer
	if err := json.Indent(&doc, p.Document, "", "  "); err != nil {
		return nil, err
	}
	return &iam.GetPolicyVersionOutput{PolicyVersion: &types.PolicyVersion{
		Document: aws.String(encode(doc.String())), VersionId: &p.Version, IsDefaultVersion: true, CreateDate: &p.Updated,
	}}, nil
}

// Private

func findManaged(given *string) (managedPolicy, error) {
	var c check
	resource := c.required("policyArn", given, policyARN)
	if err := c.err(); err != nil {
		return managedPolicy{}, err
	}
	if err := checkPolicyARN(resource); err != nil {
		return managedPolicy{}, err
	}
	p, ok := managed[resource]
	if !ok {
		return p, noSuchEntity("Policy %s was not found.", resource)
	}
	return p, nil
}

func checkPolicyARN(s string) error {
	if a, err := arn.Parse(s); err != nil || a.Service != "iam" || a.Type() != "policy" {
		return invalidInput("ARN %s is not valid.", s)
	}
	return nil
}
