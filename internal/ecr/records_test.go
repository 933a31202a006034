package ecr

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/oci/ocitest"
)

func TestRecords(t *testing.T) {
	ocitest.TestRecords(t, func(t *testing.T) ocitest.RecordsUnderTest {
		l := newLab(t)
		name := func(repo string) *string { _, n := arn.ScopeOf(repo); return &n }
		return ocitest.RecordsUnderTest{
			Records: &records{db: l.o.DB, quotas: Quotas{}.complete(), changed: func(Change) {}}, A: l.create("app"), B: l.create("app/sub"),
			SetImmutable: func(repo string, on bool) {
				how := types.ImageTagMutabilityMutable
				if on {
					how = types.ImageTagMutabilityImmutable
				}
				if _, err := l.PutImageTagMutability(as(home), &ecr.PutImageTagMutabilityInput{RepositoryName: name(repo), ImageTagMutability: how}); err != nil {
					t.Error(err)
				}
			},
			Drop: func(repo string) {
				if _, err := l.DeleteRepository(as(home), &ecr.DeleteRepositoryInput{RepositoryName: name(repo), Force: true}); err != nil {
					t.Error(err)
				}
			},
		}
	})
}

// Every push, tag and deletion is told, so that others can prepare for it.
func TestRecords_TellOfChanges(t *testing.T) {
	l := newLab(t)
	repo := l.create("app")
	d := l.push("app", "one", "v1")
	want := Change{Repository: repo, Tag: "v1", Digest: d.String(), MediaType: "application/vnd.oci.image.manifest.v1+json"}
	if n := len(l.changes); n != 1 {
		t.Fatalf("%d changes after one push: %v", n, l.changes)
	}
	got := l.changes[0]
	if got.Size == 0 {
		t.Error("the change has no size")
	}
	got.Size = 0
	if got != want {
		t.Errorf("change = %+v, want %+v", got, want)
	}
	l.changes = nil
	if _, err := l.BatchDeleteImage(as(home), &ecr.BatchDeleteImageInput{RepositoryName: str("app"), ImageIds: []types.ImageIdentifier{{ImageTag: str("v1")}}}); err != nil {
		t.Fatal(err)
	}
	if len(l.changes) != 1 || l.changes[0] != (Change{Repository: repo, Tag: "v1", Digest: d.String(), Deleted: true}) {
		t.Errorf("changes after delete = %+v", l.changes)
	}
	if err := l.registry.Collect(context.Background()); err != nil {
		t.Error(err)
	}
	if holds, err := l.o.Blobs.Holds(context.Background()); err != nil || len(holds[repo]) != 2 {
		t.Errorf("Holds() = %v, %v; want config and layer until they expire", holds, err)
	}
}
