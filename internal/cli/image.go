package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) imageCommand() *cobra.Command {
	c := &cobra.Command{Use: "image", Short: "Images on the server"}
	c.AddCommand(a.imageList(), a.imageImport(), a.imageInspect(), a.imageExport(), a.imageCopy(), a.imageRemove(), a.imagePushCommands(), a.imageCollect(), a.imageVerify())
	return c
}

func (a *app) imageImport() *cobra.Command {
	return &cobra.Command{Use: "import NAME FILE", Short: "Take an image from a file, so that FROM NAME needs no registry", Args: cobra.ExactArgs(2),
		Long: `Takes an image from a docker-save archive, an OCI layout archive, or an archive of a root file
system (tar, also compressed), and keeps it under NAME. A Dockerfile's FROM NAME and a task
definition's image NAME find it before any registry is asked: nothing is downloaded.`,
		Example: "  docker save golang:1.26 | gzip > golang.tar.gz\n  lotse image import docker.io/library/golang:1.26 golang.tar.gz",
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.target(cmd.Context())
			if err != nil {
				return err
			}
			if t.local == nil {
				return fmt.Errorf("%s is no Lotse server", t.banner())
			}
			f, err := os.Open(args[1])
			if err != nil {
				return err
			}
			defer f.Close()
			h := sha256.New()
			if _, err := io.Copy(h, f); err != nil { // the signature covers the content
				return err
			}
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return err
			}
			var out struct{ Name, Digest string }
			if err := t.local.send(cmd.Context(), http.MethodPost, "/_lotse/images?name="+url.QueryEscape(args[0]), f, hex.EncodeToString(h.Sum(nil)), &out); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s@%s\n", out.Name, out.Digest)
			return nil
		}}
}
