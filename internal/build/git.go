package build

import (
	"context"
	"os/exec"
	"strings"
)

// Git is where a directory stands in its git repository.
type Git struct {
	Commit string // 40 hex digits; empty: not in a repository, or without a commit
	Dirty  bool   // something below the directory differs from the commit
}

// GitInfo asks git about dir. Without git, or outside a repository, Commit is empty.
func GitInfo(ctx context.Context, dir string) Git {
	commit, err := git(ctx, dir, "rev-parse", "--verify", "HEAD")
	if err != nil {
		return Git{}
	}
	changes, err := git(ctx, dir, "status", "--porcelain", "--", ".")
	return Git{Commit: commit, Dirty: err != nil || changes != ""}
}

// Tag names an image after its source: the commit's first 12 digits, "-dirty-" and the content's hash after them
// when something was changed, or the hash's first 12 alone where there is no commit.
func (o Options) Tag(ctx context.Context) (string, error) {
	g := GitInfo(ctx, o.Context)
	if g.Commit != "" && !g.Dirty {
		return g.Commit[:12], nil
	}
	h, err := o.Hash()
	if err != nil {
		return "", err
	}
	if g.Commit == "" {
		return h[:12], nil
	}
	return g.Commit[:12] + "-dirty-" + h[:8], nil
}

// Private

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-C", dir}, args...)...)
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}
