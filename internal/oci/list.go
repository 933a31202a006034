package oci

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Private

// listTags answers /tags/list, a page at a time if the client asks for pages.
func (g *Registry) listTags(c *call) error {
	q := c.r.URL.Query()
	limit := -1
	if s := q.Get("n"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return &Error{Status: 400, Code: "PAGINATION_NUMBER_INVALID", Message: fmt.Sprintf("n=%q is not a number of tags", s)}
		}
		limit = n
	}
	tags := []string{}
	if limit != 0 {
		ask := limit
		if limit > 0 {
			ask++ // one more, to know whether there is another page
		}
		found, err := g.o.Records.Tags(c.r.Context(), c.repo, q.Get("last"), ask)
		if err != nil {
			return err
		}
		tags = append(tags, found...)
	}
	if limit > 0 && len(tags) > limit {
		tags = tags[:limit]
		c.w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?n=%d&last=%s>; rel="next"`, c.name, limit, url.QueryEscape(tags[limit-1])))
	}
	return c.json("application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.name, tags})
}

// listReferrers answers with an index of the manifests that have the given one as subject, whether or
// not that one is there.
func (g *Registry) listReferrers(c *call) error {
	subject, err := digest.Parse(c.arg)
	if err != nil {
		return errDigest("%q is not a digest", c.arg)
	}
	ms, err := g.o.Records.Referrers(c.r.Context(), c.repo, subject)
	if err != nil {
		return err
	}
	want := c.r.URL.Query().Get("artifactType")
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	for _, m := range ms {
		if want == "" || m.ArtifactType == want {
			idx.Manifests = append(idx.Manifests, ocispec.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size,
				ArtifactType: m.ArtifactType, Annotations: m.Annotations})
		}
	}
	if want != "" {
		c.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return c.json(ocispec.MediaTypeImageIndex, idx)
}

func (c *call) json(mediaType string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", mediaType)
	c.w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	c.w.WriteHeader(http.StatusOK)
	_, err = c.w.Write(raw)
	return ignoreWrite(err)
}
