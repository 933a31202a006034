package ecr

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/internal/lazyregexp"
)

// Source: ECR service model, ImageDigest and ImageTag; tags as the registry takes them.
var (
	digestRE = lazyregexp.New(`^[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+$`)
	tagRE    = lazyregexp.New(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// Private

// find is the digest of the image that an id means, or why there is none.
func (c *contents) find(id types.ImageIdentifier) (string, *types.ImageFailure) {
	d, tag := aws.ToString(id.ImageDigest), aws.ToString(id.ImageTag)
	switch {
	case d == "" && tag == "":
		return "", failure(id, types.ImageFailureCodeMissingDigestAndTag, "Invalid request parameters: both tag and digest cannot be null")
	case d != "" && !digestRE.MatchString(d):
		return "", failure(id, types.ImageFailureCodeInvalidImageDigest, "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'")
	case tag != "" && !tagRE.MatchString(tag):
		return "", failure(id, types.ImageFailureCodeInvalidImageTag, "Invalid request parameters: image tag should satisfy the regex '%s'", strings.Trim(tagRE.String(), "^$"))
	}
	at, tagged := c.tagged[tag]
	if d == "" {
		d = at
	}
	_, there := c.images[d]
	switch {
	case !there || tag != "" && !tagged:
		return "", failure(id, types.ImageFailureCodeImageNotFound, "Requested image not found")
	case tag != "" && at != d:
		return "", failure(id, types.ImageFailureCodeImageTagDoesNotMatchDigest, "Tag '%s' does not match the digest '%s'", tag, d)
	}
	return d, nil
}

// indexesOf are the indexes that name an image.
func (c *contents) indexesOf(digest string) []string {
	var out []string
	for _, d := range c.digests {
		for _, child := range c.images[d].Images {
			if child.Digest == digest && !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	return out
}

func failure(id types.ImageIdentifier, code types.ImageFailureCode, format string, a ...any) *types.ImageFailure {
	return &types.ImageFailure{ImageId: &id, FailureCode: code, FailureReason: aws.String(fmt.Sprintf(format, a...))}
}
