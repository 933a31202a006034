// Package ecr is the API of Amazon ECR, and ECR's side of the registry: which repositories there are, who may
// log in, what names mean. The bytes and the distribution API are package oci's.
//
//	e := ecr.New(ecr.Options{DB: db, Blobs: ctrd.NewBlobs(…), Scope: …, Host: "localhost:4566", Secret: …})
//	mux.Add(e.API())
//	http.Handle("/v2/", e.Registry())
//	go e.Run(ctx)
package ecr

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/store"
)

// Options is what the service needs to know of its surroundings. DB, Blobs, Scope, RegistryHost and Secret are needed.
type Options struct {
	DB    *store.DB
	Blobs oci.BlobStore
	// Scope is the server's own account and region: images named without them belong there.
	Scope arn.Scope
	// RegistryHost is the host:port in repository URIs, such as localhost:4566.
	RegistryHost string
	// Secret signs login tokens. Who has it can log in as anybody; a new one ends all logins.
	Secret []byte
	// TokenTTL is how long a login lasts at most. 0: 12 h, as on AWS.
	TokenTTL time.Duration
	// Permit asks the policies of a caller that isn't root for an action; an *awswire.Error refuses. Nil: all such are refused.
	Permit func(ctx context.Context, c awsauth.Caller, action, resource string) error
	// Free is how many bytes pushes may take of the disk. Nil: as many as there are.
	Free func() (int64, error)
	// Quotas are what repositories may have.
	Quotas Quotas
	// Events finds the directory of a log stream, with the stream and its group made if they aren't there. What
	// lifecycle policies do is written there, to the group LifecycleGroup. Nil: nowhere.
	Events func(ctx context.Context, sc arn.Scope, group, stream string) (dir string, err error)
	// Changed is called after an image was pushed, adopted, imported, tagged or deleted. It must not wait.
	Changed func(Change)
	Fault   func(point string) // see oci.Options
	Now     func() time.Time   // nil: time.Now
	Log     *slog.Logger       // nil: slog.Default
}

// A Change is an image that came, or a tag, image or repository that went.
type Change struct {
	Repository string // its key: account/region/name, or mirror/host/path of imported images
	Tag        string // "": none
	Digest     string // of the manifest or index; "" when only a tag, or the whole repository, went
	MediaType  string
	Size       int64 // bytes of the manifest
	Deleted    bool
}

// Service answers ECR's operations.
type Service struct {
	o        Options
	key      []byte // of token signatures
	registry *oci.Registry
	evaluate chan struct{} // a lifecycle policy has come
}

// New makes the service and its registry. It starts nothing.
func New(o Options) *Service {
	if o.TokenTTL == 0 {
		o.TokenTTL = 12 * time.Hour
	}
	o.Quotas = o.Quotas.complete()
	if o.Changed == nil {
		o.Changed = func(Change) {}
	}
	if o.Fault == nil {
		o.Fault = func(string) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	mac := hmac.New(sha256.New, o.Secret)
	mac.Write([]byte("lotse ecr token 1"))
	s := &Service{o: o, key: mac.Sum(nil), evaluate: make(chan struct{}, 1)}
	s.registry = oci.New(oci.Options{
		Blobs: o.Blobs, Records: &records{db: o.DB, quotas: o.Quotas, changed: o.Changed}, Authorizer: s, Resolve: s.repositoryOf,
		MayMount: s.mayMount, Room: s.room, Fault: o.Fault, Now: o.Now, Log: o.Log,
	})
	return s
}

// API lists the operations.
func (s *Service) API() *awswire.API {
	// Source: ECR service model: awsJson1.1, target prefix AmazonEC2ContainerRegistry_V20150921.
	a := &awswire.API{SigningName: "ecr", Protocol: awswire.JSON11, Target: "AmazonEC2ContainerRegistry_V20150921", MaxBody: maxBody}
	awswire.Handle(a, s.CreateRepository)
	awswire.Handle(a, s.DescribeRepositories)
	awswire.Handle(a, s.DeleteRepository)
	awswire.Handle(a, s.PutImageTagMutability)
	awswire.Handle(a, s.GetAuthorizationToken)
	awswire.Handle(a, s.DescribeImages)
	awswire.Handle(a, s.ListImages)
	awswire.Handle(a, s.BatchGetImage)
	awswire.Handle(a, s.BatchDeleteImage)
	awswire.Handle(a, s.BatchCheckLayerAvailability)
	awswire.Handle(a, s.PutImage)
	awswire.Handle(a, s.InitiateLayerUpload)
	awswire.Handle(a, s.UploadLayerPart)
	awswire.Handle(a, s.CompleteLayerUpload)
	awswire.Handle(a, s.GetDownloadUrlForLayer)
	awswire.Handle(a, s.PutLifecyclePolicy)
	awswire.Handle(a, s.GetLifecyclePolicy)
	awswire.Handle(a, s.DeleteLifecyclePolicy)
	awswire.Handle(a, s.StartLifecyclePolicyPreview)
	awswire.Handle(a, s.GetLifecyclePolicyPreview)
	awswire.Handle(a, s.SetRepositoryPolicy)
	awswire.Handle(a, s.GetRepositoryPolicy)
	awswire.Handle(a, s.DeleteRepositoryPolicy)
	awswire.Handle(a, s.PutRegistryPolicy)
	awswire.Handle(a, s.GetRegistryPolicy)
	awswire.Handle(a, s.DeleteRegistryPolicy)
	awswire.Handle(a, s.CreateRepositoryCreationTemplate)
	awswire.Handle(a, s.UpdateRepositoryCreationTemplate)
	awswire.Handle(a, s.DeleteRepositoryCreationTemplate)
	awswire.Handle(a, s.DescribeRepositoryCreationTemplates)
	awswire.Handle(a, s.DescribeRegistry)
	awswire.Handle(a, s.GetAccountSetting)
	awswire.Handle(a, s.PutAccountSetting)
	awswire.Handle(a, s.PutImageScanningConfiguration)
	awswire.Handle(a, s.ListImageReferrers)
	awswire.Handle(a, s.TagResource)
	awswire.Handle(a, s.UntagResource)
	awswire.Handle(a, s.ListTagsForResource)
	return a
}

// Registry serves /v2/, and takes over (Adopt) and imports images.
func (s *Service) Registry() *oci.Registry { return s.registry }

// Run expires images as lifecycle policies want it, and collects what nobody wants any more, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.registry.Run(ctx) })
	g.Go(func() error { return s.expireImages(ctx) })
	return g.Wait()
}

// Private

// scope is the caller's account and region.
func scope(ctx context.Context) arn.Scope { return awsauth.ScopeFrom(ctx) }
