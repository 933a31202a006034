package daemon

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lotse-project/lotse/internal/acm"
	"github.com/lotse-project/lotse/internal/awsauth"
)

// Credentials are the root key of a server's account.
type Credentials struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
	Account         string `json:"account"`
	Region          string `json:"region"`
}

// LoadCredentials reads them; only root may.
func LoadCredentials(p Paths) (Credentials, error) {
	var c Credentials
	b, err := os.ReadFile(p.Credentials())
	if errors.Is(err, os.ErrNotExist) {
		return c, fmt.Errorf("no server has run with the data directory %s yet: lotse server run --data-dir %s", p.Data, p.Data)
	}
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(b, &c)
}

// Authority is the certificate of the server's certificate authority, as PEM; only root may read it.
func Authority(dir string) ([]byte, error) {
	p, err := NewPaths(dir)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(p.Data, acm.AuthorityFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no server has run with the data directory %s yet: lotse server run --data-dir %[1]s", p.Data)
	}
	return text, err
}

// ensureCredentials makes the root key at the first start, unless the environment gives one.
func ensureCredentials(p Paths, account, region string) (Credentials, error) {
	c, err := LoadCredentials(p)
	if err == nil && c.Account == account {
		if c.Region == region {
			return c, nil
		}
		c.Region = region
		return c, writeCredentials(p, c)
	}
	if err == nil {
		return c, fmt.Errorf("the data directory %s belongs to account %s, not %s", p.Data, c.Account, account)
	}
	c = Credentials{AccessKeyID: os.Getenv("LOTSE_ROOT_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("LOTSE_ROOT_SECRET_ACCESS_KEY"), Account: account, Region: region}
	if c.AccessKeyID == "" {
		c.AccessKeyID = "AKIA" + randomText(16) // 20 characters (IAM: reference_identifiers)
	}
	if c.SecretAccessKey == "" {
		b := make([]byte, 30)
		rand.Read(b)
		c.SecretAccessKey = base64.RawStdEncoding.EncodeToString(b)
	}
	return c, writeCredentials(p, c)
}

// keys are the root key and IAM's temporary ones.
type keys struct {
	c         Credentials
	temporary awsauth.Keys
}

// Lookup is awsauth.Keys.
func (k keys) Lookup(ctx context.Context, id, token string) (awsauth.Key, error) {
	if id != k.c.AccessKeyID {
		return k.temporary.Lookup(ctx, id, token)
	}
	return awsauth.Key{AccessKeyID: id, SecretAccessKey: k.c.SecretAccessKey, Account: k.c.Account, Root: true,
		ARN: "arn:aws:iam::" + k.c.Account + ":root", UserID: k.c.Account}, nil // root: user id = account id (STS GetCallerIdentity)
}

// Private

func writeCredentials(p Paths, c Credentials) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(p.Credentials()+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(b, '\n')); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(p.Credentials()+".new", p.Credentials())
}

func randomText(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	b := make([]byte, n)
	rand.Read(b)
	var s strings.Builder
	for _, x := range b {
		s.WriteByte(letters[x%32])
	}
	return s.String()
}
