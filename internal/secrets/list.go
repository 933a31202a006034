package secrets

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// ListSecrets lists secrets without their values.
func (s *Service) ListSecrets(ctx context.Context, in *secretsmanager.ListSecretsInput) (*secretsmanager.ListSecretsOutput, error) {
	if err := onlyMembers(in, "Filters", "IncludePlannedDeletion", "MaxResults", "NextToken", "SortBy", "SortOrder"); err != nil {
		return nil, err
	}
	size, err := pageSize(in.MaxResults, 100)
	if err != nil {
		return nil, err
	}
	found, next, err := s.list(ctx, listing{filters: in.Filters, marked: aws.ToBool(in.IncludePlannedDeletion), by: in.SortBy, order: in.SortOrder, size: size, token: in.NextToken})
	out := &secretsmanager.ListSecretsOutput{NextToken: next}
	for _, sec := range found {
		out.SecretList = append(out.SecretList, types.SecretListEntry{
			ARN: aws.String(sec.ARN()), Name: aws.String(sec.Name), Description: optional(sec.Description), CreatedDate: aws.Time(sec.CreatedAt),
			LastChangedDate: aws.Time(sec.ChangedAt), LastAccessedDate: date(sec.AccessedAt), DeletedDate: date(sec.MarkedAt),
			Tags: tagList(sec.Tags), SecretVersionsToStages: byVersion(sec),
		})
	}
	return out, err
}

// Private

// A listing is what a caller wants to see of all secrets.
type listing struct {
	filters []types.Filter
	marked  bool // those too that are marked for deletion
	by      types.SortByType
	order   types.SortOrderType
	size    int
	token   *string
}

func (s *Service) list(ctx context.Context, l listing) ([]state.Secret, *string, error) {
	if err := checkFilters(l.filters); err != nil {
		return nil, nil, err
	}
	now := s.o.Now()
	var found []state.Secret
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.Secrets.List(tx, scope(ctx).Key("")) {
			if err != nil {
				return err
			}
			if o.Val.Gone(now) || !l.marked && !o.Val.MarkedAt.IsZero() || !matches(o.Val, l.filters) {
				continue
			}
			found = append(found, o.Val)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	down := l.order == types.SortOrderTypeDesc
	slices.SortFunc(found, func(a, b state.Secret) int {
		if down {
			a, b = b, a
		}
		return cmpString(l.key(a), l.key(b))
	})
	return page(found, l.token, l.size, l.key, down)
}

// key is what a secret is sorted by.
func (l listing) key(s state.Secret) string {
	switch l.by {
	case types.SortByTypeName:
		return s.Name
	case types.SortByTypeLastAccessedDate:
		return timeKey(s.AccessedAt) + s.Name
	case types.SortByTypeLastChangedDate:
		return timeKey(s.ChangedAt) + s.Name
	}
	return timeKey(s.CreatedAt) + s.Name
}

func timeKey(t time.Time) string { return fmt.Sprintf("%020d/", max(0, t.UnixMilli())) }

func cmpString(a, b string) int { return strings.Compare(a, b) }

// pageSize is a page's limit, 1 to most, which is also the default.
func pageSize(limit *int32, most int) (int, error) {
	switch n := int(aws.ToInt32(limit)); {
	case limit == nil:
		return most, nil
	case n < 1:
		return 0, constraint(n, "maxResults", "Member must have value greater than or equal to 1")
	case n > most:
		return 0, constraint(n, "maxResults", fmt.Sprintf("Member must have value less than or equal to %d", most))
	default:
		return n, nil
	}
}

// page cuts a list in order of its keys, or in the other one. The token is the last item's key on the page before, so that a
// list that changes in between neither repeats nor skips what stayed.
func page[T any](items []T, token *string, size int, key func(T) string, down bool) ([]T, *string, error) {
	start := 0
	if t := aws.ToString(token); t != "" {
		last, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil {
			return nil, nil, errNextToken
		}
		start = sort.Search(len(items), func(i int) bool {
			if down {
				return key(items[i]) < string(last)
			}
			return key(items[i]) > string(last)
		})
	}
	end := min(start+size, len(items))
	if end == len(items) {
		return items[start:], nil, nil
	}
	return items[start:end], aws.String(base64.RawURLEncoding.EncodeToString([]byte(key(items[end-1])))), nil
}
