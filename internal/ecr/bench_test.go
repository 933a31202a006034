package ecr

import (
	"context"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// BenchmarkImages is what calls cost in a repository of 10,000 images.
func BenchmarkImages(b *testing.B) {
	l := newLab(b)
	repo := l.create("app")
	err := l.o.DB.Update(context.Background(), func(tx *store.WriteTx) error {
		for n := range 10_000 {
			d := digest.FromString(fmt.Sprint(n)).String()
			i := state.Image{Digest: d, MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 1000, PushedAt: tx.Now()}
			for k := range 6 {
				i.Layers = append(i.Layers, state.ImageContent{Digest: digest.FromString(fmt.Sprint(n, k)).String(), Size: 1 << 20})
			}
			if err := put(tx, state.Images, state.RepositoryImages(repo)+d, i); err != nil {
				return err
			}
			if err := put(tx, state.ImageTags, tagKey(repo, fmt.Sprintf("v%05d", n)), state.ImageTag{Digest: d}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	one := []types.ImageIdentifier{{ImageTag: str("v05000")}}
	for name, call := range map[string]func() error{
		"DescribeOne": func() error {
			_, err := l.DescribeImages(as(home), &ecr.DescribeImagesInput{RepositoryName: str("app"), ImageIds: one})
			return err
		},
		"DescribePage": func() error {
			_, err := l.DescribeImages(as(home), &ecr.DescribeImagesInput{RepositoryName: str("app")})
			return err
		},
		"ListPage": func() error {
			_, err := l.ListImages(as(home), &ecr.ListImagesInput{RepositoryName: str("app")})
			return err
		},
		"TagsPage": func() error {
			_, err := (&records{db: l.o.DB}).Tags(context.Background(), repo, "v09000", 100)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
