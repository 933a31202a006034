package awswire

import (
	"context"

	"github.com/google/uuid"
)

type requestIDKey struct{}

// RequestID returns the id of the request being answered, the one that the caller gets in
// x-amzn-RequestId, or "" outside of a request.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func withRequestID(ctx context.Context) (context.Context, string) {
	id := uuid.NewString()
	return context.WithValue(ctx, requestIDKey{}, id), id
}
