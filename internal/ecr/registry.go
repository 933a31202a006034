package ecr

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// The account settings. Source: ECR API Reference, PutAccountSetting.
const (
	blobMounting  = "BLOB_MOUNTING"         // ENABLED, DISABLED: whether a push may mount layers of another repository
	policyScope   = "REGISTRY_POLICY_SCOPE" // V2: a registry policy speaks of all actions of ECR
	basicScanning = "BASIC_SCAN_TYPE_VERSION"
)

// DescribeRegistry shows the registry's settings. Nothing is replicated.
func (s *Service) DescribeRegistry(ctx context.Context, _ *ecr.DescribeRegistryInput) (*ecr.DescribeRegistryOutput, error) {
	return &ecr.DescribeRegistryOutput{RegistryId: aws.String(scope(ctx).Account),
		ReplicationConfiguration: &types.ReplicationConfiguration{Rules: []types.ReplicationRule{}}}, nil
}

// GetAccountSetting shows an account setting. Mounting is on until it is turned off.
func (s *Service) GetAccountSetting(ctx context.Context, in *ecr.GetAccountSettingInput) (*ecr.GetAccountSettingOutput, error) {
	if _, err := settingValues(aws.ToString(in.Name)); err != nil {
		return nil, err
	}
	var value string
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) (err error) {
		value, err = setting(tx, scope(ctx), *in.Name)
		return err
	})
	return &ecr.GetAccountSettingOutput{Name: in.Name, Value: &value}, err
}

// PutAccountSetting changes an account setting.
func (s *Service) PutAccountSetting(ctx context.Context, in *ecr.PutAccountSettingInput) (*ecr.PutAccountSettingOutput, error) {
	name, value := aws.ToString(in.Name), aws.ToString(in.Value)
	values, err := settingValues(name)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(values, value) {
		return nil, invalid("value", "must be one of %v for %s", values, name)
	}
	return &ecr.PutAccountSettingOutput{Name: in.Name, Value: in.Value}, s.changeRegistry(ctx, func(r *state.Registry) error {
		if r.Settings == nil {
			r.Settings = map[string]string{}
		}
		r.Settings[name] = value
		return nil
	})
}

// PutImageScanningConfiguration takes what is so anyway: nothing is scanned.
func (s *Service) PutImageScanningConfiguration(ctx context.Context, in *ecr.PutImageScanningConfigurationInput) (*ecr.PutImageScanningConfigurationOutput, error) {
	if err := checkConfiguration(nil, in.ImageScanningConfiguration); err != nil {
		return nil, err
	}
	r, err := s.repository(ctx, in.RepositoryName, in.RegistryId, "PutImageScanningConfiguration")
	if err != nil {
		return nil, err
	}
	return &ecr.PutImageScanningConfigurationOutput{ImageScanningConfiguration: &types.ImageScanningConfiguration{}, RegistryId: &r.Scope.Account, RepositoryName: &r.Name}, nil
}

// Private

// mayMount is oci.Options.MayMount.
func (s *Service) mayMount(ctx context.Context, repo string) (bool, error) {
	sc, _ := arn.ScopeOf(repo)
	var value string
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) (err error) {
		value, err = setting(tx, sc, blobMounting)
		return err
	})
	return value == "ENABLED", err
}

// settingValues are the values that a setting may have, the default first.
func settingValues(name string) ([]string, error) {
	switch name {
	case blobMounting:
		return []string{"ENABLED", "DISABLED"}, nil
	case policyScope:
		return []string{"V2"}, nil
	case basicScanning:
		return nil, refused("Lotse does not scan images, so it has no account setting %s.", basicScanning)
	}
	return nil, invalid("name", "must satisfy enum value set: [%s, %s, %s]", basicScanning, blobMounting, policyScope)
}

func setting(tx store.Reader, sc arn.Scope, name string) (string, error) {
	r, err := state.Registries.Get(tx, state.RegistryKey(sc))
	if err := known(missing(err)); err != nil {
		return "", err
	}
	if v, ok := r.Val.Settings[name]; ok {
		return v, nil
	}
	values, err := settingValues(name)
	if err != nil {
		return "", err
	}
	return values[0], nil
}
