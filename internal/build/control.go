package build

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/platforms"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// configKey is where a Solve's answer holds the image's config, in base64; BuildKit has nothing alike.
const configKey = "lotse.image.config"

// sessionPrefix begins the metadata by which BuildKit knows a session.
const sessionPrefix = "x-docker-expose-session-"

// maxConfig is the greatest image config that is sent to a client, in bytes.
const maxConfig = 4 << 20

// control is BuildKit's control API as a client may use it. What is not here answers Unimplemented.
type control struct {
	controlapi.UnimplementedControlServer
	caller  context.Context // the upgraded request's, without its end; lives as long as the connection
	backend *grpc.ClientConn
	limits  limits
	built   func(context.Context, Image) error

	rewritten *rewritten
	log       *slog.Logger
}

// Solve builds.
func (c *control) Solve(ctx context.Context, req *controlapi.SolveRequest) (*controlapi.SolveResponse, error) {
	restricted, name, record, err := c.limits.restrict(req)
	if err != nil {
		return nil, err
	}
	resp, err := c.rewritten.solve(ctx, c.backend, restricted, record)
	if err != nil || record == "" {
		return resp, err
	}
	img, err := imageOf(resp.ExporterResponse)
	if err != nil {
		return nil, err
	}
	img.Name, img.Record = name, record
	config, err := c.config(ctx, img.Digest, 0)
	if err != nil {
		return nil, err
	}
	resp.ExporterResponse[configKey] = base64.StdEncoding.EncodeToString(config)
	resp.ExporterResponse[exptypes.ExporterImageNameKey] = name
	c.log.Info("image built", "name", name, "digest", img.Digest)
	if c.built != nil {
		// Not ctx: the image is there, even if the client has just gone.
		if err := c.built(c.caller, img); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// Status tells what happens in a build.
func (c *control) Status(req *controlapi.StatusRequest, down controlapi.Control_StatusServer) error {
	up, err := controlapi.NewControlClient(c.backend).Status(down.Context(), req)
	if err != nil {
		return err
	}
	if header, err := up.Header(); err == nil {
		if err := down.SetHeader(header); err != nil { // the clock, by which the client corrects times
			return err
		}
	}
	return pipe(up.Recv, down.Send)
}

// Session is the way back: buildkitd asks the client for files and registry logins.
func (c *control) Session(down controlapi.Control_SessionServer) error {
	incoming, _ := metadata.FromIncomingContext(down.Context())
	up, err := controlapi.NewControlClient(c.backend).Session(metadata.NewOutgoingContext(down.Context(), sessionMetadata(incoming)))
	if err != nil {
		return err
	}
	// A client that closes its side ends buildkitd's, and so this call; a client that is gone ends the context. When
	// buildkitd is first, the end of this call ends Recv.
	go func() {
		if pipe(down.Recv, up.Send) == nil {
			_ = up.CloseSend()
		}
	}()
	return pipe(up.Recv, down.Send)
}

// Private

// pipe moves messages until the source ends.
func pipe[T any](from func() (T, error), to func(T) error) error {
	for {
		m, err := from()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := to(m); err != nil {
			return err
		}
	}
}

// sessionMetadata is what buildkitd is told of a session: neither the client's connection nor its login.
func sessionMetadata(in metadata.MD) metadata.MD {
	out := metadata.MD{}
	for k, v := range in {
		if strings.HasPrefix(k, sessionPrefix) {
			out[k] = v
		}
	}
	return out
}

// imageOf reads the descriptor out of a Solve's answer.
func imageOf(response map[string]string) (Image, error) {
	b, err := base64.StdEncoding.DecodeString(response[exptypes.ExporterImageDescriptorKey])
	if err != nil {
		return Image{}, err
	}
	var d ocispec.Descriptor
	if err := json.Unmarshal(b, &d); err != nil {
		return Image{}, err
	}
	return Image{Digest: d.Digest.String(), MediaType: d.MediaType, Size: d.Size}, nil
}

// config finds the config of an image; of several platforms', this machine's, else the first.
func (c *control) config(ctx context.Context, dgst string, depth int) ([]byte, error) {
	b, err := readBlob(ctx, c.backend, dgst, maxConfig)
	if err != nil {
		return nil, err
	}
	var m struct {
		Config    ocispec.Descriptor
		Manifests []ocispec.Descriptor
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", dgst, err)
	}
	if m.Config.Digest != "" {
		return readBlob(ctx, c.backend, m.Config.Digest.String(), maxConfig)
	}
	if len(m.Manifests) == 0 || depth > 0 {
		return nil, fmt.Errorf("manifest %s: neither an image nor an index of images", dgst)
	}
	best := m.Manifests[0]
	for _, d := range m.Manifests {
		if d.Platform != nil && platforms.Default().Match(*d.Platform) {
			best = d
			break
		}
	}
	return c.config(ctx, best.Digest.String(), depth+1)
}

// readBlob reads from the content store through buildkitd, which serves it for reading.
func readBlob(ctx context.Context, conn *grpc.ClientConn, dgst string, limit int) ([]byte, error) {
	stream, err := contentapi.NewContentClient(conn).Read(ctx, &contentapi.ReadContentRequest{Digest: dgst})
	if err != nil {
		return nil, err
	}
	var b []byte
	err = pipe(stream.Recv, func(r *contentapi.ReadContentResponse) error {
		if len(b)+len(r.Data) > limit {
			return status.Errorf(codes.ResourceExhausted, "blob %s is greater than %d bytes", dgst, limit)
		}
		b = append(b, r.Data...)
		return nil
	})
	return b, err
}
