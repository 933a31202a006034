package ecr

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	// partSize is what InitiateLayerUpload asks for, in bytes. Source: answers of the real service.
	partSize = 10 << 20
	// minPart is how small a part may be that isn't the last, maxPart how large any. Source: ECR API Reference,
	// LayerPartTooSmallException and UploadLayerPart.
	minPart, maxPart = 5 << 20, 20 << 20
	// maxBody is the largest request: a part in base64, and the rest.
	maxBody = maxPart/3*4 + 64<<10
)

// uploadRE is an upload's id. Source: ECR service model, UploadId.
var uploadRE = lazyregexp.New(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

// InitiateLayerUpload begins a layer that is to come in parts.
func (s *Service) InitiateLayerUpload(ctx context.Context, in *ecr.InitiateLayerUploadInput) (*ecr.InitiateLayerUploadOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "RegistryId"); err != nil {
		return nil, err
	}
	repo, err := s.repository(ctx, in.RepositoryName, in.RegistryId, "InitiateLayerUpload")
	if err != nil {
		return nil, err
	}
	id, err := s.registry.BeginUpload(ctx, repo.Key())
	if err != nil {
		return nil, uploadError(err, "", repo)
	}
	return &ecr.InitiateLayerUploadOutput{UploadId: aws.String(asUUID(id)), PartSize: aws.Int64(partSize)}, nil
}

// UploadLayerPart takes the next part of a layer.
func (s *Service) UploadLayerPart(ctx context.Context, in *ecr.UploadLayerPartInput) (*ecr.UploadLayerPartOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "RegistryId", "UploadId", "PartFirstByte", "PartLastByte", "LayerPartBlob"); err != nil {
		return nil, err
	}
	repo, err := s.repository(ctx, in.RepositoryName, in.RegistryId, "UploadLayerPart")
	if err != nil {
		return nil, err
	}
	id, err := uploadID(in.UploadId)
	if err != nil {
		return nil, err
	}
	first, last, n := aws.ToInt64(in.PartFirstByte), aws.ToInt64(in.PartLastByte), int64(len(in.LayerPartBlob))
	switch {
	case first < 0:
		return nil, invalid("partFirstByte", "must have value greater than or equal to 0")
	case n > maxPart:
		return nil, invalid("layerPartBlob", "must have length less than or equal to %d", maxPart)
	case n == 0 || last-first+1 != n:
		return nil, awsError("InvalidLayerPartException", fmt.Sprintf("The part has %d bytes; partFirstByte and partLastByte say that they are %d to %d", n, first, last))
	}
	if err := s.checkShort(ctx, repo, id); err != nil {
		return nil, err
	}
	have, err := s.registry.AppendUpload(ctx, repo.Key(), id, first, in.LayerPartBlob)
	if err != nil {
		return nil, uploadError(err, id, repo)
	}
	if n < minPart {
		if err := s.noteShort(ctx, repo.Key(), id); err != nil {
			return nil, err
		}
	}
	return &ecr.UploadLayerPartOutput{LastByteReceived: aws.Int64(have - 1), RegistryId: aws.String(repo.Scope.Account),
		RepositoryName: aws.String(repo.Name), UploadId: in.UploadId}, nil
}

// CompleteLayerUpload makes a layer of the parts.
func (s *Service) CompleteLayerUpload(ctx context.Context, in *ecr.CompleteLayerUploadInput) (*ecr.CompleteLayerUploadOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "RegistryId", "UploadId", "LayerDigests"); err != nil {
		return nil, err
	}
	repo, err := s.repository(ctx, in.RepositoryName, in.RegistryId, "CompleteLayerUpload")
	if err != nil {
		return nil, err
	}
	id, err := uploadID(in.UploadId)
	if err != nil {
		return nil, err
	}
	d, err := layerDigest(in.LayerDigests)
	if err != nil {
		return nil, err
	}
	size, err := s.registry.UploadSize(ctx, repo.Key(), id)
	if err != nil {
		return nil, uploadError(err, id, repo)
	}
	if size == 0 {
		return nil, awsError("EmptyUploadException", fmt.Sprintf("The upload '%s' does not contain any layer parts", asUUID(id)))
	}
	if have, err := s.registry.Has(ctx, repo.Key(), d); err != nil {
		return nil, err
	} else if have {
		if err := s.registry.AbortUpload(ctx, repo.Key(), id); err != nil {
			return nil, uploadError(err, id, repo)
		}
		return nil, awsError("LayerAlreadyExistsException", fmt.Sprintf("The layer with digest '%s' already exists in the repository with name '%s' in registry with id '%s'", d, repo.Name, repo.Scope.Account))
	}
	if _, err := s.registry.CompleteUpload(ctx, repo.Key(), id, d); err != nil {
		return nil, uploadError(err, id, repo)
	}
	return &ecr.CompleteLayerUploadOutput{LayerDigest: aws.String(d.String()), RegistryId: aws.String(repo.Scope.Account),
		RepositoryName: aws.String(repo.Name), UploadId: in.UploadId}, nil
}

// Private

// repository is one of the caller's, as it is now.
func (s *Service) repository(ctx context.Context, name, registry *string, action string) (state.Repository, error) {
	if err := ownRegistry(ctx, registry, action, aws.ToString(name)); err != nil {
		return state.Repository{}, err
	}
	var r state.Repository
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := repository(tx, scope(ctx), name)
		r = o.Val
		return err
	})
	return r, err
}

// checkShort refuses a part after one that was too small for anything but the last.
func (s *Service) checkShort(ctx context.Context, repo state.Repository, id string) error {
	l, err := view(ctx, s.o.DB, state.LayerUploads, tagKey(repo.Key(), id))
	switch {
	case errors.Is(err, oci.ErrNotFound):
		return errNoUpload(id, repo)
	case err == nil && l.Short:
		return awsError("InvalidLayerPartException", fmt.Sprintf("Layer parts must be at least %d bytes in size, but for the last one; the part before this one was smaller", minPart))
	}
	return err
}

// noteShort notes down that such a part has come.
func (s *Service) noteShort(ctx context.Context, repo, id string) error {
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := state.LayerUploads.Get(tx, tagKey(repo, id))
		if errors.Is(err, store.ErrNotFound) {
			return nil // ended meanwhile
		}
		if err != nil {
			return err
		}
		o.Val.Short = true
		return state.LayerUploads.Put(tx, &o)
	})
}

func layerDigest(ds []string) (digest.Digest, error) {
	if n := len(ds); n != 1 {
		return "", refused("Lotse takes one digest in layerDigests, not %d: they would all be of the same layer.", n)
	}
	d, err := digest.Parse(ds[0])
	if err != nil {
		return "", invalid("layerDigests", "must satisfy regular expression '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+' and be of sha256 or sha512")
	}
	return d, nil
}

// asUUID is how the API shows an upload's id, uploadID how the registry knows it.
func asUUID(id string) string {
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

func uploadID(id *string) (string, error) {
	if !uploadRE.MatchString(aws.ToString(id)) {
		return "", invalid("uploadId", "must satisfy regular expression '%s'", strings.Trim(uploadRE.String(), "^$"))
	}
	return strings.ToLower(strings.ReplaceAll(*id, "-", "")), nil
}

func errNoUpload(id string, repo state.Repository) *awswire.Error {
	return awsError("UploadNotFoundException", fmt.Sprintf("The upload with id '%s' does not exist in the repository with name '%s' in registry with id '%s'", asUUID(id), repo.Name, repo.Scope.Account))
}

// uploadError says in the API's words why the registry refused a part or a layer.
func uploadError(err error, id string, repo state.Repository) error {
	var off *oci.ErrOffset
	var e *oci.Error
	switch {
	case errors.As(err, &off):
		return awsError("InvalidLayerPartException", fmt.Sprintf("The part's first byte %d does not follow the last byte that was received, %d", off.From, off.Have-1))
	case errors.Is(err, oci.ErrDigestMismatch):
		return awsError("InvalidLayerException", "The layer does not have the digest that was given: upload it again")
	case !errors.As(err, &e):
		return err
	}
	if err := noRoom(e); err != nil {
		return err
	}
	switch e.Code {
	case "BLOB_UPLOAD_UNKNOWN":
		return errNoUpload(id, repo)
	case "NAME_UNKNOWN":
		return errNoRepository(repo.Name, repo.Scope.Account)
	case "SIZE_INVALID":
		return awsError("LimitExceededException", e.Message)
	}
	return refused("%s", e.Message)
}
