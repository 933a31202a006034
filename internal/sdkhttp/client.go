// Package sdkhttp is the HTTP client that the AWS SDK is to use against a fast server.
package sdkhttp

import (
	"bytes"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// A Client is an aws.HTTPClient that sends bodies from memory. net/http may still be reading
// a body of the SDK's own kind when a fast server has answered already and the SDK closes it; that
// costs the connection, and the caller a failed request or a retry. Source: aws-sdk-go-v2 issue 2737.
type Client struct{ aws.HTTPClient }

// Do is aws.HTTPClient.
func (c Client) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
	return c.HTTPClient.Do(r)
}
