package efs

import (
	"context"
	"net/http"
	"path"
	"reflect"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// CreateAccessPoint makes a way into a file system. Doing it again with the same token and members changes nothing.
func (s *Service) CreateAccessPoint(ctx context.Context, in *efs.CreateAccessPointInput) (*efs.CreateAccessPointOutput, error) {
	tags, err := tagMap(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	sc := scope(ctx)
	ap := state.AccessPoint{Scope: sc, ID: state.NewEC2ID("fsap"), Token: aws.ToString(in.ClientToken), FileSystem: idOf(in.FileSystemId), Path: "/", Tags: tags}
	if len(ap.Token) > 64 {
		return nil, constraint(ap.Token, "clientToken", "Member must have length less than or equal to 64")
	}
	if ap.User, err = posixUser(in.PosixUser); err != nil {
		return nil, err
	}
	if r := in.RootDirectory; r != nil {
		if ap.Path, err = rootPath(r.Path); err != nil {
			return nil, err
		}
		if ap.Create, err = creation(r.CreationInfo); err != nil {
			return nil, err
		}
	}
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		if _, err := fileSystem(tx, sc, ap.FileSystem); err != nil {
			return err
		}
		for o, err := range state.AccessPoints.List(tx, sc.Key("")) {
			if err != nil {
				return err
			}
			if o.Val.Token != ap.Token {
				continue
			}
			again := ap
			again.ID, again.CreatedAt = o.Val.ID, o.Val.CreatedAt
			if !reflect.DeepEqual(again, o.Val) {
				return &awswire.Error{Code: "AccessPointAlreadyExists", Status: http.StatusConflict, Members: map[string]string{"AccessPointId": o.Val.ID},
					Message: "Access point already exists with client token: " + ap.Token}
			}
			ap = o.Val
			return nil
		}
		ap.CreatedAt = tx.Now()
		return state.AccessPoints.Put(tx, &store.Object[state.AccessPoint]{Key: sc.Key(ap.ID), Val: ap})
	})
	if err != nil {
		return nil, err
	}
	v := pointView(ap)
	return &efs.CreateAccessPointOutput{AccessPointArn: v.AccessPointArn, AccessPointId: v.AccessPointId, ClientToken: v.ClientToken, FileSystemId: v.FileSystemId,
		LifeCycleState: v.LifeCycleState, Name: v.Name, OwnerId: v.OwnerId, PosixUser: v.PosixUser, RootDirectory: v.RootDirectory, Tags: v.Tags}, nil
}

// DescribeAccessPoints lists all access points or those of a file system, or describes one.
func (s *Service) DescribeAccessPoints(ctx context.Context, in *efs.DescribeAccessPointsInput) (*efs.DescribeAccessPointsOutput, error) {
	fs, id, sc := idOf(in.FileSystemId), idOf(in.AccessPointId), scope(ctx)
	if fs != "" && id != "" {
		return nil, badRequest("Specify either a file system ID or an access point ID, not both.")
	}
	var found []types.AccessPointDescription
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		if fs != "" {
			if _, err := fileSystem(tx, sc, fs); err != nil {
				return err
			}
		}
		for o, err := range state.AccessPoints.List(tx, sc.Key("")) {
			if err != nil {
				return err
			}
			if (fs == "" || o.Val.FileSystem == fs) && (id == "" || o.Val.ID == id) {
				found = append(found, pointView(o.Val))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if id != "" && len(found) == 0 {
		return nil, noAccessPoint(id)
	}
	out := &efs.DescribeAccessPointsOutput{}
	out.AccessPoints, out.NextToken, err = page(found, in.NextToken, in.MaxResults, func(p types.AccessPointDescription) string { return *p.AccessPointId })
	return out, err
}

// DeleteAccessPoint removes an access point. Its directory stays, and what is mounted stays mounted.
func (s *Service) DeleteAccessPoint(ctx context.Context, in *efs.DeleteAccessPointInput) (*efs.DeleteAccessPointOutput, error) {
	id := idOf(in.AccessPointId)
	return &efs.DeleteAccessPointOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		return or(state.AccessPoints.Delete(tx, scope(ctx).Key(id), 0), noAccessPoint(id))
	})
}

// Private

// rootPath checks an access point's directory. Source: API reference, RootDirectory: at most 100 characters, four levels.
func rootPath(given *string) (string, error) {
	p := aws.ToString(given)
	if p == "" {
		return "/", nil
	}
	bad := constraint(p, "rootDirectory.path", "Member must be an absolute path of at most 100 characters and four directories, without . and .., $#<>;`|&?{}^* and line ends")
	if len(p) > 100 || p[0] != '/' || strings.ContainsAny(p, "$#<>;`|&?{}^*\n\x00") || p != "/" && path.Clean(p) != strings.TrimSuffix(p, "/") || strings.Count(path.Clean(p), "/") > 4 {
		return "", bad
	}
	for part := range strings.SplitSeq(p, "/") {
		if strings.HasPrefix(part, ".") {
			return "", bad
		}
	}
	return path.Clean(p), nil
}

func creation(c *types.CreationInfo) (*state.Creation, error) {
	if c == nil {
		return nil, nil
	}
	mode := aws.ToString(c.Permissions)
	n, err := strconv.ParseUint(mode, 8, 32)
	if err != nil || len(mode) < 3 || len(mode) > 4 { // Source: API reference, CreationInfo
		return nil, constraint(mode, "rootDirectory.creationInfo.permissions", "Member must satisfy regular expression pattern: ^[0-7]{3,4}$")
	}
	out := &state.Creation{UID: aws.ToInt64(c.OwnerUid), GID: aws.ToInt64(c.OwnerGid), Permissions: uint32(n)}
	return out, checkIDs(out.UID, out.GID)
}

func posixUser(u *types.PosixUser) (*state.POSIXUser, error) {
	if u == nil {
		return nil, nil
	}
	if len(u.SecondaryGids) > 0 {
		return nil, badRequest("Lotse does not act on posixUser.secondaryGids, so it does not accept it.")
	}
	out := &state.POSIXUser{UID: aws.ToInt64(u.Uid), GID: aws.ToInt64(u.Gid)}
	return out, checkIDs(out.UID, out.GID)
}

func checkIDs(ids ...int64) error {
	for _, id := range ids {
		if id < 0 || id > 4294967295 {
			return constraint(id, "uid or gid", "Member must have value between 0 and 4294967295")
		}
	}
	return nil
}

func pointView(a state.AccessPoint) types.AccessPointDescription {
	v := types.AccessPointDescription{AccessPointArn: aws.String(a.ARN()), AccessPointId: &a.ID, ClientToken: &a.Token, FileSystemId: &a.FileSystem,
		LifeCycleState: types.LifeCycleStateAvailable, Name: nameOf(a.Tags), OwnerId: &a.Scope.Account, RootDirectory: &types.RootDirectory{Path: &a.Path}, Tags: tagList(a.Tags)}
	if c := a.Create; c != nil {
		mode := strconv.FormatUint(uint64(c.Permissions), 8)
		v.RootDirectory.CreationInfo = &types.CreationInfo{OwnerUid: &c.UID, OwnerGid: &c.GID, Permissions: aws.String(strings.Repeat("0", max(0, 3-len(mode))) + mode)}
	}
	if u := a.User; u != nil {
		v.PosixUser = &types.PosixUser{Uid: &u.UID, Gid: &u.GID}
	}
	return v
}
