package deploy

import (
	"bytes"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// An HTTPClient is an aws.HTTPClient that sends bodies from memory. net/http may still be reading
// a body of the SDK's own kind when a fast server has answered already and the SDK closes it; that
// costs the connection, and the caller a failed request or a retry. Source: aws-sdk-go-v2 issue 2737.
type HTTPClient struct{ aws.HTTPClient }

// Do is aws.HTTPClient.
func (c HTTPClient) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
	return c.HTTPClient.Do(r)
}
