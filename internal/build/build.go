// Package build turns a Dockerfile into an image.
//
// On the server's side a [Daemon] runs BuildKit when it is needed, on the containerd that also runs the tasks, and
// a [Handler] lets clients reach it through one HTTP request that is upgraded to a gRPC connection. What a build
// leaves behind lies in the content store already: the server adopts it into a repository, and no byte is copied.
//
// On the client's side a [Client] builds through that handler, or through another BuildKit or docker buildx where
// there is no Lotse; those give an OCI archive to be pushed.
//
//	client ── POST /_lotse/build, SigV4, Upgrade: lotse-build ──► Handler ── unix socket ──► buildkitd ──► containerd
//	       ◄═ gRPC: Solve, Status, Session (files of the context, registry logins) ═►
package build

import (
	"context"
	"io"
)

// Options say what to build. Only Context is required. The names and their meaning are docker buildx's.
type Options struct {
	// Context is the directory whose files the build may copy; "-" for a tar archive, also compressed, or a Dockerfile
	// alone in Stdin; or the URL of a git repository or an archive, which the builder fetches. A directory's
	// .dockerignore is honoured, or, before it, the file named like the Dockerfile with ".dockerignore" appended.
	Context string

	// Dockerfile is the Dockerfile's path, which may lie outside the context; "-" for Stdin. A relative path is taken
	// from the working directory, as docker does it; from the context's root where that is no directory.
	// Empty: Dockerfile in the context.
	Dockerfile string

	Stdin io.Reader // what "-" stands for

	// Contexts are the named ones: a directory, docker-image://REF, oci-layout://DIR[:TAG][@DIGEST], or a URL.
	Contexts map[string]string

	Target        string            // stage to build; empty: the last
	Args          map[string]string // --build-arg
	Labels        map[string]string // put into the image's config
	Annotations   map[string]string // put into the image's manifest
	Platform      string            // such as "linux/arm64", several with commas; empty: the builder's own
	NoCache       bool              // run every step anew
	NoCacheStages []string          // run every step of these stages anew
	Pull          bool              // look for newer base images, although older ones are there
	AddHosts      []string          // lines of /etc/hosts for RUN steps, "name:address"
	ShmSize       int64             // of /dev/shm for RUN steps, bytes; 0: 64 MiB
	Ulimits       []string          // for RUN steps, "nofile=1024:2048"

	Secrets []Secret // for RUN --mount=type=secret
	SSH     []Agent  // for RUN --mount=type=ssh

	CacheFrom, CacheTo []Cache

	// Epoch is what timestamps in the image that are later are set to, in seconds since 1970: that makes an image the
	// same whenever and wherever it is built. SOURCE_DATE_EPOCH in Args wins. Empty: [DefaultEpoch]; "none": the
	// true times stay.
	Epoch string

	Provenance string // attributes such as "mode=max", or "true"; empty: none
	SBOM       string // attributes such as "generator=IMAGE", or "true"; empty: none

	// Names are what the image is to be called, "localhost:4566/shop:3f9c2ab1d0e4". The server hands them to whoever
	// adopts the result; it decides there what the caller may name.
	Names []string

	// Outputs are what is made; none: an image.
	Outputs []Output

	// Auth gives the login for a registry that a FROM names. Nil or empty strings: what Docker's configuration
	// file holds for it, else none.
	Auth func(ctx context.Context, host string) (user, secret string, err error)

	// Progress is called whenever something changed, by one goroutine at a time. May be nil.
	Progress func(Progress)

	// Display shows BuildKit's own progress, in the given mode: "auto" (drawn on a terminal, else plain lines), "tty",
	// "plain" or "rawjson". May be nil.
	Display     io.Writer
	DisplayMode string

	// Archive is the file where a builder that isn't Lotse's leaves the image, an OCI archive. Required then.
	Archive string
}

// A Result is an image that was built.
type Result struct {
	Digest   string     // of the manifest; empty when no image was made
	Platform string     // "linux/amd64"
	Steps    int        // steps of the Dockerfile that took part
	Cached   int        // how many of them were taken from the cache
	Config   ConfigInfo // what the image says about running it
	Builder  string     // who built: "lotse", "buildkit", "docker"
	Archive  string     // the OCI archive to be pushed; empty when Lotse built, which has the image already

	// Warnings are what BuildKit's checks found in the Dockerfile. None from docker, which prints them itself, nor where
	// the build's result was in the cache.
	Warnings []Warning

	// Response is what BuildKit says of the results, such as containerimage.config.digest. Nil from docker.
	Response map[string]string
}

// A Warning is what one of BuildKit's checks found.
type Warning struct {
	File string
	Line int      // from 1; 0: not known
	Text string   // "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"
	More []string // what it means
	URL  string   // of the check's description; may be empty
}

// Progress is how far a build is.
type Progress struct {
	Steps, Done, Cached int    // of the Dockerfile, as far as they are known by now
	Current             string // the step begun last that still runs, such as "[build 3/5] RUN go build"; may be empty
	Lines               []Line // what steps printed since the last call
}

// A Line is one line a step printed.
type Line struct {
	Step string
	Text string // without the newline
}
