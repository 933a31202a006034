package ecr

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/internal/state"
)

// referrersPage is how many referrers a page has when nobody asks, referrersMax at most. Source: ECR service model.
const referrersPage, referrersMax = 20, 50

// ListImageReferrers lists the artifacts that are about an image, whether or not that is there.
func (s *Service) ListImageReferrers(ctx context.Context, in *ecr.ListImageReferrersInput) (*ecr.ListImageReferrersOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "SubjectId", "Filter", "MaxResults", "NextToken", "RegistryId"); err != nil {
		return nil, err
	}
	n, subject := aws.Int32(referrersPage), aws.ToString(in.SubjectId.ImageDigest)
	if in.MaxResults != nil {
		if n = in.MaxResults; *n < 1 || *n > referrersMax {
			return nil, invalid("maxResults", "must be between 1 and %d", referrersMax)
		}
	}
	if !digestRE.MatchString(subject) {
		return nil, invalid("subjectId.imageDigest", "must satisfy regular expression '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'")
	}
	var f types.ListImageReferrersFilter
	if in.Filter != nil {
		f = *in.Filter
	}
	if f.ArtifactStatus != "" && !slices.Contains(f.ArtifactStatus.Values(), f.ArtifactStatus) {
		return nil, invalid("filter.artifactStatus", "must satisfy enum value set: [ACTIVE, ARCHIVED, ACTIVATING, ANY]")
	}
	active := f.ArtifactStatus == "" || f.ArtifactStatus == types.ArtifactStatusFilterActive || f.ArtifactStatus == types.ArtifactStatusFilterAny
	c, err := s.contents(ctx, in.RepositoryName, in.RegistryId, "ListImageReferrers")
	if err != nil {
		return nil, err
	}
	var found []state.Image
	for _, d := range c.digests {
		i := c.images[d]
		if active && i.Subject == subject && (len(f.ArtifactTypes) == 0 || slices.Contains(f.ArtifactTypes, i.ArtifactType)) {
			found = append(found, i)
		}
	}
	page, next, err := paginate(found, func(i state.Image) string { return i.Digest }, in.NextToken, n)
	if err != nil {
		return nil, err
	}
	out := &ecr.ListImageReferrersOutput{NextToken: next, Referrers: []types.ImageReferrer{}}
	for _, i := range page {
		out.Referrers = append(out.Referrers, types.ImageReferrer{Digest: &i.Digest, MediaType: &i.MediaType, ArtifactType: &i.ArtifactType,
			Size: &i.Size, Annotations: i.Annotations, ArtifactStatus: types.ArtifactStatusActive})
	}
	return out, nil
}
