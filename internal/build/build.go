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

// Options say what to build. Only Context is required.
type Options struct {
	// Context is the directory whose files the build may copy. Its .dockerignore is honoured, or, before it,
	// the file named like the Dockerfile with ".dockerignore" appended.
	Context string

	// Dockerfile is the Dockerfile's path, which may lie outside the context. A relative path is taken from the
	// working directory, as docker does it. Empty: Context/Dockerfile.
	Dockerfile string

	Target   string            // stage to build; empty: the last
	Args     map[string]string // --build-arg
	Labels   map[string]string // put into the image's config
	Platform string            // such as "linux/arm64"; empty: the builder's own. One only.
	NoCache  bool              // run every step anew

	// Name is what the image is to be called, "localhost:4566/shop:3f9c2ab1d0e4". The server hands it to whoever
	// adopts the result; it decides there what the caller may name.
	Name string

	// Auth gives the login for a registry that a FROM names. Nil or empty strings: what Docker's configuration
	// file holds for it, else none.
	Auth func(ctx context.Context, host string) (user, secret string, err error)

	// Progress is called whenever something changed, by one goroutine at a time. May be nil.
	Progress func(Progress)

	// Display shows BuildKit's own progress: drawn on a terminal, else plain lines. May be nil.
	Display io.Writer

	// Archive is the file where a builder that isn't Lotse's leaves the image, an OCI archive. Required then.
	Archive string
}

// A Result is an image that was built.
type Result struct {
	Digest   string     // of the manifest
	Platform string     // "linux/amd64"
	Steps    int        // steps of the Dockerfile that took part
	Cached   int        // how many of them were taken from the cache
	Config   ConfigInfo // what the image says about running it
	Builder  string     // who built: "lotse", "buildkit", "docker"
	Archive  string     // the OCI archive to be pushed; empty when Lotse built, which has the image already
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
