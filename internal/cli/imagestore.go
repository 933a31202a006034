package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/lotse-project/lotse/internal/deploy"
)

func (a *app) imageList() *cobra.Command {
	return &cobra.Command{Use: "ls [REPOSITORY]", Short: "Images, the newest first", Args: cobra.MaximumNArgs(1),
		Example: "  lotse image ls\n  lotse image ls shop -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.target(cmd.Context())
			if err != nil {
				return err
			}
			var images []types.ImageDetail
			for _, r := range args {
				repo, _ := splitImage(r)
				if images, err = imagesOf(cmd.Context(), t, repo, images); err != nil {
					return err
				}
			}
			if len(args) == 0 {
				repos := ecr.NewDescribeRepositoriesPaginator(t.clients.ECR, &ecr.DescribeRepositoriesInput{})
				for repos.HasMorePages() {
					page, err := repos.NextPage(cmd.Context())
					if err != nil {
						return err
					}
					for _, r := range page.Repositories {
						if images, err = imagesOf(cmd.Context(), t, *r.RepositoryName, images); err != nil {
							return err
						}
					}
				}
			}
			slices.SortStableFunc(images, func(x, y types.ImageDetail) int {
				return cmp.Or(cmp.Compare(*x.RepositoryName, *y.RepositoryName), y.ImagePushedAt.Compare(*x.ImagePushedAt))
			})
			if a.flags.output == "json" {
				return json.NewEncoder(a.out).Encode(images)
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', 0)
			fmt.Fprintln(w, "REPOSITORY\tTAGS\tDIGEST\tSIZE\tPUSHED")
			for _, i := range images {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s ago\n", *i.RepositoryName, cmp.Or(strings.Join(i.ImageTags, ","), "-"), short(*i.ImageDigest),
					size(aws.ToInt64(i.ImageSizeInBytes)), units.HumanDuration(time.Since(*i.ImagePushedAt)))
			}
			return w.Flush()
		}}
}

func (a *app) imageRemove() *cobra.Command {
	return &cobra.Command{Use: "rm REPOSITORY:TAG|REPOSITORY@DIGEST...", Short: "Remove tags, or images with all their tags", Args: cobra.MinimumNArgs(1),
		Long: "Removes tags, and with the last of its tags the image; by digest the image with all of its tags.\nTasks that run from it run on. The disk is freed later, or at once by `lotse image gc`.",
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.target(cmd.Context())
			if err != nil {
				return err
			}
			for _, ref := range args {
				repo, id := splitImage(ref)
				if id == (types.ImageIdentifier{}) {
					return &deploy.Failure{Exit: deploy.ExitUsage, Cause: fmt.Sprintf("%s names no tag and no digest.", ref), Fix: "Say which image: " + repo + ":TAG"}
				}
				out, err := t.clients.ECR.BatchDeleteImage(cmd.Context(), &ecr.BatchDeleteImageInput{RepositoryName: &repo, ImageIds: []types.ImageIdentifier{id}})
				if err != nil {
					return err
				}
				for _, f := range out.Failures {
					return fmt.Errorf("%s: %s", ref, aws.ToString(f.FailureReason))
				}
				fmt.Fprintf(a.out, "removed %s\n", ref)
			}
			return nil
		}}
}

func (a *app) imagePushCommands() *cobra.Command {
	return &cobra.Command{Use: "push-commands REPOSITORY", Short: "What to type to push with Docker, skopeo or crane", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.target(cmd.Context())
			if err != nil {
				return err
			}
			out, err := t.clients.ECR.DescribeRepositories(cmd.Context(), &ecr.DescribeRepositoriesInput{RepositoryNames: args})
			if err != nil {
				return err
			}
			uri := *out.Repositories[0].RepositoryUri
			host, _, _ := strings.Cut(uri, "/")
			login := "aws ecr get-login-password --region " + t.cfg.Region
			insecure, plain := "", ""
			if t.endpoint != "" {
				login += " --endpoint-url " + t.endpoint
			}
			if strings.HasPrefix(t.endpoint, "http://") {
				insecure, plain = " --dest-tls-verify=false", " --insecure"
			}
			fmt.Fprintf(a.out, `# Docker
%[1]s | docker login --username AWS --password-stdin %[2]s
docker tag %[3]s:latest %[4]s:latest
docker push %[4]s:latest

# skopeo
skopeo copy%[5]s --dest-creds "AWS:$(%[1]s)" docker-archive:%[3]s.tar docker://%[4]s:latest

# crane
%[1]s | crane auth login --username AWS --password-stdin %[2]s
crane push%[6]s %[3]s.tar %[4]s:latest
`, login, host, args[0], uri, insecure, plain)
			return nil
		}}
}

func (a *app) imageCollect() *cobra.Command {
	return &cobra.Command{Use: "gc", Short: "Free what no repository, task or build needs", Args: cobra.NoArgs,
		Long: "Removes at once what no repository, task or build needs. That happens by itself as well, a day after\nan image was removed; layers that a client pushed in the last minutes stay, for the manifest to come.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var freed struct {
				Blobs, Snapshots int
				Bytes            int64
			}
			if err := a.own(cmd.Context(), "/_lotse/images/gc", &freed); err != nil {
				return err
			}
			if a.flags.output == "json" {
				return json.NewEncoder(a.out).Encode(freed)
			}
			fmt.Fprintf(a.out, "freed %s: %d blobs, %d unpacked layers\n", size(freed.Bytes), freed.Blobs, freed.Snapshots)
			return nil
		}}
}

func (a *app) imageVerify() *cobra.Command {
	return &cobra.Command{Use: "verify", Short: "Read all images from the disk, and find what is damaged", Args: cobra.NoArgs,
		Long: "Reads every layer and manifest, and compares it with its digest. What is damaged is taken out, so that\nnobody gets it, and the next push of the image brings it again.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var v struct {
				Blobs   int
				Bytes   int64
				Damaged []struct {
					Digest       string
					Missing      bool
					Repositories []string
				}
			}
			if err := a.own(cmd.Context(), "/_lotse/images/verify", &v); err != nil {
				return err
			}
			if a.flags.output == "json" {
				if err := json.NewEncoder(a.out).Encode(v); err != nil {
					return err
				}
			} else {
				for _, d := range v.Damaged {
					fmt.Fprintf(a.out, "%s  %s  %s\n", map[bool]string{true: "missing", false: "damaged"}[d.Missing], d.Digest, strings.Join(d.Repositories, ", "))
				}
				fmt.Fprintf(a.out, "%d blobs, %s read, %d damaged or missing\n", v.Blobs, size(v.Bytes), len(v.Damaged))
			}
			if len(v.Damaged) > 0 {
				return &deploy.Failure{Exit: 1, Cause: "Images are damaged.", Fix: "Push them again: layers that are whole are not sent."}
			}
			return nil
		}}
}

// Private

// own asks a Lotse server for what only it has.
func (a *app) own(ctx context.Context, path string, out any) error {
	t, err := a.target(ctx)
	if err != nil {
		return err
	}
	if t.local == nil {
		return fmt.Errorf("%s is no Lotse server", t.banner())
	}
	return t.local.call(ctx, http.MethodPost, path, nil, out)
}

func imagesOf(ctx context.Context, t *target, repo string, images []types.ImageDetail) ([]types.ImageDetail, error) {
	p := ecr.NewDescribeImagesPaginator(t.clients.ECR, &ecr.DescribeImagesInput{RepositoryName: &repo})
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		images = append(images, page.ImageDetails...)
	}
	return images, nil
}

// splitImage reads [HOST/]REPOSITORY[:TAG][@DIGEST]. A host has a dot or a port, as in Docker.
func splitImage(ref string) (repo string, id types.ImageIdentifier) {
	if host, rest, ok := strings.Cut(ref, "/"); ok && strings.ContainsAny(host, ".:") {
		ref = rest
	}
	ref, d, _ := strings.Cut(ref, "@")
	if d != "" {
		id.ImageDigest = &d
	}
	repo = ref
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		repo = ref[:i]
		if d == "" {
			id.ImageTag = aws.String(ref[i+1:])
		}
	}
	return repo, id
}

func short(digest string) string { return digest[:min(len(digest), len("sha256:")+12)] }

func size(n int64) string { return units.HumanSize(float64(n)) }
