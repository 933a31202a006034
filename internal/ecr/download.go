package ecr

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// urlTTL is how long a download's address is good.
const urlTTL = time.Hour

// GetDownloadUrlForLayer gives an address under which anybody who has it may fetch one layer for a while. It is this
// registry's own, without TLS: whoever puts a proxy before it reaches the same path there.
func (s *Service) GetDownloadUrlForLayer(ctx context.Context, in *ecr.GetDownloadUrlForLayerInput) (*ecr.GetDownloadUrlForLayerOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "RegistryId", "LayerDigest"); err != nil {
		return nil, err
	}
	r, err := s.repository(ctx, in.RepositoryName, in.RegistryId, "GetDownloadUrlForLayer")
	if err != nil {
		return nil, err
	}
	d, err := digest.Parse(aws.ToString(in.LayerDigest))
	if err != nil {
		return nil, invalid("layerDigest", "must satisfy regular expression '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'")
	}
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		_, err := state.Layers.Get(tx, contentKey(r.Key(), d))
		if errors.Is(err, store.ErrNotFound) {
			return awsError("LayersNotFoundException", fmt.Sprintf("The layer with digest '%s' does not exist in the repository with name '%s' in registry with id '%s'", d, r.Name, r.Scope.Account))
		}
		if err != nil {
			return err
		}
		named, err := layersOf(tx, r.Key())
		if err == nil && !named[d.String()] {
			err = awsError("LayerInaccessibleException", fmt.Sprintf("The layer with digest '%s' is not associated with an image", d))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	host, name, _ := strings.Cut(s.URI(r.Scope, r.Name), "/")
	q := url.Values{"Expires": {strconv.FormatInt(s.o.Now().Add(urlTTL).Unix(), 10)}}
	q.Set("Signature", s.signURL(r.Key(), d.String(), q.Get("Expires")))
	return &ecr.GetDownloadUrlForLayerOutput{LayerDigest: in.LayerDigest, DownloadUrl: aws.String("http://" + host + "/v2/" + name + "/blobs/" + d.String() + "?" + q.Encode())}, nil
}

// Private

func (s *Service) signURL(repo, digest, expires string) string {
	return s.sign("download\n" + repo + "\n" + digest + "\n" + expires)
}

// signedURL tells whether a request without a login has an address of GetDownloadUrlForLayer; an error says that it
// had, but no more.
func (s *Service) signedURL(r *http.Request, repo string, action oci.Action) (bool, error) {
	q := r.URL.Query()
	sig, expires := q.Get("Signature"), q.Get("Expires")
	if sig == "" || action != oci.Pull {
		return false, nil
	}
	d := path.Base(r.URL.Path)
	if !strings.HasSuffix(r.URL.Path, "/blobs/"+d) || !hmac.Equal([]byte(sig), []byte(s.signURL(repo, d, expires))) {
		return false, nil
	}
	at, err := strconv.ParseInt(expires, 10, 64)
	if err != nil {
		return false, nil
	}
	if s.o.Now().Unix() >= at {
		return false, &oci.Error{Status: 403, Code: "DENIED", Message: "The address has expired: ask for another (get-download-url-for-layer)."}
	}
	return true, nil
}
