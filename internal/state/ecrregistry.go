package state

import (
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

// What an ECR registry has besides repositories: all that is of one account and region. Written by the API.
var (
	Registries          = store.NewTable[Registry]("ecr.registry")                   // scope
	RepositoryTemplates = store.NewTable[RepositoryTemplate]("ecr.creationtemplate") // scope/prefix
)

// A Registry is the settings of one. There is none until somebody sets something.
type Registry struct {
	Policy   string            `json:",omitempty"` // text of the registry policy
	Settings map[string]string `json:",omitempty"` // account settings that were put
}

// RootPrefix is the prefix of the template for repositories that no other is for.
const RootPrefix = "ROOT"

// A RepositoryTemplate says what a repository is like that is made by a push.
type RepositoryTemplate struct {
	Scope       arn.Scope
	Prefix      string // of names, up to a slash; or RootPrefix
	Description string
	AppliedFor  []string
	Role        string // ARN; shown only
	Mutability  string
	Exclusions  []string
	Policy      string // text of the repository policy
	Lifecycle   string // text of the lifecycle policy
	Tags        map[string]string
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// RegistryKey is the key of a scope in Registries.
func RegistryKey(sc arn.Scope) string { return strings.TrimSuffix(sc.Key(), "/") }

// TemplateFor finds the template of the longest prefix for a repository that a push asks for, or store.ErrNotFound.
func TemplateFor(tx store.Reader, sc arn.Scope, name string) (RepositoryTemplate, error) {
	var best RepositoryTemplate
	for o, err := range RepositoryTemplates.List(tx, sc.Key()) {
		if err != nil {
			return best, err
		}
		t := o.Val
		root := t.Prefix == RootPrefix && best.Prefix == ""
		if root || strings.HasPrefix(name, t.Prefix+"/") && (best.Prefix == RootPrefix || len(t.Prefix) > len(best.Prefix)) {
			best = t
		}
	}
	if best.Prefix == "" {
		return best, store.ErrNotFound
	}
	return best, nil
}
