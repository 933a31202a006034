package ecr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/internal/lifecycle"
	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	// lifecycleMin and lifecycleMax are the lengths of a lifecycle policy, in characters. Source: ECR service model.
	lifecycleMin, lifecycleMax = 100, 30720
	// previewTTL is how long a preview can be looked at.
	previewTTL = 24 * time.Hour
	// previewPage is how many results a page of a preview has at most. Source: ECR service model.
	previewPage = 100
)

// PutLifecyclePolicy gives a repository a lifecycle policy. It is evaluated soon, then every hour.
func (s *Service) PutLifecyclePolicy(ctx context.Context, in *ecr.PutLifecyclePolicyInput) (*ecr.PutLifecyclePolicyOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "LifecyclePolicyText", "RegistryId"); err != nil {
		return nil, err
	}
	text := aws.ToString(in.LifecyclePolicyText)
	if _, err := lifecyclePolicy(text); err != nil {
		return nil, err
	}
	r, err := s.changeRepository(ctx, in.RepositoryName, in.RegistryId, "PutLifecyclePolicy", func(tx *store.WriteTx, r *state.Repository) error {
		r.Lifecycle, r.LifecycleAt = text, tx.Now()
		return nil
	})
	if err != nil {
		return nil, err
	}
	select {
	case s.evaluate <- struct{}{}:
	default:
	}
	return &ecr.PutLifecyclePolicyOutput{LifecyclePolicyText: &text, RegistryId: &r.Scope.Account, RepositoryName: &r.Name}, nil
}

// GetLifecyclePolicy shows a repository's lifecycle policy.
func (s *Service) GetLifecyclePolicy(ctx context.Context, in *ecr.GetLifecyclePolicyInput) (*ecr.GetLifecyclePolicyOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "RegistryId"); err != nil {
		return nil, err
	}
	r, err := s.repository(ctx, in.RepositoryName, in.RegistryId, "GetLifecyclePolicy")
	if err != nil {
		return nil, err
	}
	if r.Lifecycle == "" {
		return nil, errNoLifecycle(r)
	}
	run, err := view(ctx, s.o.DB, state.LifecycleRuns, r.Key())
	return &ecr.GetLifecyclePolicyOutput{LifecyclePolicyText: &r.Lifecycle, RegistryId: &r.Scope.Account, RepositoryName: &r.Name,
		LastEvaluatedAt: evaluatedAt(run)}, known(err)
}

// DeleteLifecyclePolicy takes a repository's lifecycle policy away. What it has expired doesn't come back.
func (s *Service) DeleteLifecyclePolicy(ctx context.Context, in *ecr.DeleteLifecyclePolicyInput) (*ecr.DeleteLifecyclePolicyOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "RegistryId"); err != nil {
		return nil, err
	}
	out := &ecr.DeleteLifecyclePolicyOutput{}
	r, err := s.changeRepository(ctx, in.RepositoryName, in.RegistryId, "DeleteLifecyclePolicy", func(tx *store.WriteTx, r *state.Repository) error {
		if r.Lifecycle == "" {
			return errNoLifecycle(*r)
		}
		run, err := state.LifecycleRuns.Get(tx, r.Key())
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		out.LifecyclePolicyText, out.LastEvaluatedAt = aws.String(r.Lifecycle), evaluatedAt(run.Val)
		r.Lifecycle, r.LifecycleAt = "", time.Time{}
		return state.DeleteLifecycle(tx, r.Key())
	})
	out.RegistryId, out.RepositoryName = &r.Scope.Account, &r.Name
	return out, err
}

// StartLifecyclePolicyPreview finds out what a policy would expire now: the given one, or the repository's.
func (s *Service) StartLifecyclePolicyPreview(ctx context.Context, in *ecr.StartLifecyclePolicyPreviewInput) (*ecr.StartLifecyclePolicyPreviewOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "LifecyclePolicyText", "RegistryId"); err != nil {
		return nil, err
	}
	text := aws.ToString(in.LifecyclePolicyText)
	if in.LifecyclePolicyText != nil {
		if _, err := lifecyclePolicy(text); err != nil {
			return nil, err
		}
	}
	r, err := s.contents(ctx, in.RepositoryName, in.RegistryId, "StartLifecyclePolicyPreview")
	if err != nil {
		return nil, err
	}
	if text == "" {
		text = r.Lifecycle
	}
	if text == "" {
		return nil, errNoLifecycle(r.Repository)
	}
	p, err := lifecyclePolicy(text)
	if err != nil {
		return nil, err
	}
	preview := state.LifecyclePreview{Text: text, At: s.o.Now(), Expires: r.expiries(p, s.o.Now())}
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		if _, err := repository(tx, r.Scope, &r.Name); err != nil {
			return err
		}
		return put(tx, state.LifecyclePreviews, r.Key(), preview)
	})
	return &ecr.StartLifecyclePolicyPreviewOutput{LifecyclePolicyText: &text, RegistryId: &r.Scope.Account, RepositoryName: &r.Name,
		Status: types.LifecyclePolicyPreviewStatusInProgress}, err
}

// GetLifecyclePolicyPreview shows the last preview.
func (s *Service) GetLifecyclePolicyPreview(ctx context.Context, in *ecr.GetLifecyclePolicyPreviewInput) (*ecr.GetLifecyclePolicyPreviewOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "RegistryId", "Filter", "ImageIds", "MaxResults", "NextToken"); err != nil {
		return nil, err
	}
	switch n := aws.ToInt32(in.MaxResults); {
	case len(in.ImageIds) > maxBatch:
		return nil, invalid("imageIds", "must have length less than or equal to %d", maxBatch)
	case len(in.ImageIds) > 0 && (in.MaxResults != nil || in.NextToken != nil):
		return nil, refused("Invalid parameter: 'maxResults' and 'nextToken' cannot be used with 'imageIds'")
	case in.MaxResults != nil && (n < 1 || n > previewPage):
		return nil, invalid("maxResults", "must be between 1 and %d", previewPage)
	}
	r, err := s.repository(ctx, in.RepositoryName, in.RegistryId, "GetLifecyclePolicyPreview")
	if err != nil {
		return nil, err
	}
	preview, err := view(ctx, s.o.DB, state.LifecyclePreviews, r.Key())
	if errors.Is(err, oci.ErrNotFound) {
		err = awsError("LifecyclePolicyPreviewNotFoundException", fmt.Sprintf("Lifecycle policy preview does not exist for the repository with name '%s' in the registry with id '%s'", r.Name, r.Scope.Account))
	}
	if err != nil {
		return nil, err
	}
	out := &ecr.GetLifecyclePolicyPreviewOutput{LifecyclePolicyText: &preview.Text, RegistryId: &r.Scope.Account, RepositoryName: &r.Name,
		Status: types.LifecyclePolicyPreviewStatusExpired}
	if s.o.Now().Sub(preview.At) >= previewTTL {
		return out, nil
	}
	out.Status = types.LifecyclePolicyPreviewStatusComplete
	out.Summary = &types.LifecyclePolicyPreviewSummary{ExpiringImageTotalCount: aws.Int32(int32(len(preview.Expires)))}
	out.PreviewResults, out.NextToken, err = previewResults(preview.Expires, in)
	return out, err
}

// Private

// lifecyclePolicy parses a policy, with an error as the API has it.
func lifecyclePolicy(text string) (lifecycle.Policy, error) {
	switch n := len([]rune(text)); {
	case n < lifecycleMin:
		return lifecycle.Policy{}, invalid("LifecyclePolicyText", "must have length greater than or equal to %d", lifecycleMin)
	case n > lifecycleMax:
		return lifecycle.Policy{}, invalid("LifecyclePolicyText", "must have length less than or equal to %d", lifecycleMax)
	}
	p, err := lifecycle.Parse(text)
	if errors.Is(err, lifecycle.ErrArchive) {
		return p, refused("Lotse has no archive storage, so it does not accept lifecycle rules with the action transition, storageClass archive or countType sinceImageTransitioned.")
	}
	if err != nil {
		return p, invalid("LifecyclePolicyText", "Lifecycle policy validation failure: %v", err)
	}
	return p, nil
}

// previewResults picks and shows those expiries that a request asks for.
func previewResults(all []state.LifecycleExpiry, in *ecr.GetLifecyclePolicyPreviewInput) ([]types.LifecyclePolicyPreviewResult, *string, error) {
	var status types.TagStatus
	if in.Filter != nil {
		status = in.Filter.TagStatus
	}
	if status != "" && !slices.Contains(status.Values(), status) {
		return nil, nil, invalid("filter.tagStatus", "must satisfy enum value set: [TAGGED, UNTAGGED, ANY]")
	}
	out := []types.LifecyclePolicyPreviewResult{}
	for _, e := range all {
		asked := len(in.ImageIds) == 0 || slices.ContainsFunc(in.ImageIds, func(id types.ImageIdentifier) bool {
			d, tag := aws.ToString(id.ImageDigest), aws.ToString(id.ImageTag)
			return (d != "" || tag != "") && (d == "" || d == e.Digest) && (tag == "" || slices.Contains(e.Tags, tag))
		})
		if !asked || status == types.TagStatusTagged && len(e.Tags) == 0 || status == types.TagStatusUntagged && len(e.Tags) > 0 {
			continue
		}
		out = append(out, types.LifecyclePolicyPreviewResult{ImageDigest: aws.String(e.Digest), ImageTags: e.Tags, ImagePushedAt: aws.Time(e.PushedAt),
			AppliedRulePriority: aws.Int32(int32(e.Priority)), Action: &types.LifecyclePolicyRuleAction{Type: types.ImageActionTypeExpire},
			StorageClass: types.LifecyclePolicyStorageClassStandard})
	}
	slices.SortFunc(out, func(a, b types.LifecyclePolicyPreviewResult) int {
		return strings.Compare(*a.ImageDigest, *b.ImageDigest)
	})
	if len(in.ImageIds) > 0 {
		return out, nil, nil
	}
	return paginate(out, func(r types.LifecyclePolicyPreviewResult) string { return *r.ImageDigest }, in.NextToken, in.MaxResults)
}

func errNoLifecycle(r state.Repository) error {
	return awsError("LifecyclePolicyNotFoundException", fmt.Sprintf("Lifecycle policy does not exist for the repository with name '%s' in the registry with id '%s'", r.Name, r.Scope.Account))
}

func evaluatedAt(run state.LifecycleRun) *time.Time {
	if run.At.IsZero() {
		return nil
	}
	return &run.At
}
