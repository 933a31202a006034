// Package awswire speaks the AWS protocols: JSON 1.1, REST-JSON, query and EC2. A service registers its
// operations by type, with the structs of aws-sdk-go-v2 as the schema:
//
//	api := &awswire.API{SigningName: "ecs", Protocol: awswire.JSON11, Target: "AmazonEC2ContainerServiceV20141113"}
//	awswire.Handle(api, s.CreateCluster) // func(context.Context, *ecs.CreateClusterInput) (*ecs.CreateClusterOutput, error)
//	mux := awswire.NewMux(awswire.MuxOptions{Authenticate: …})
//	mux.Add(api)
//
// The Mux finds the operation of a request, has it authenticated, decodes and checks the input,
// and encodes the output or the error as that service does. Wire names are derived from the Go
// names by one rule for each protocol; what the rule can't derive is in the generated tables.
package awswire

//go:generate go run ./gen

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Protocol is an AWS wire protocol.
type Protocol int

const (
	JSON11   Protocol = iota + 1 // ECS, ECR, CloudWatch Logs
	Query                        // ELBv2, IAM, STS
	EC2                          // EC2's own kind of query
	RestJSON                     // EFS: JSON bodies, operations by method and path
)

func (p Protocol) String() string {
	switch p {
	case JSON11:
		return "json 1.1"
	case Query:
		return "query"
	case EC2:
		return "ec2"
	case RestJSON:
		return "rest json"
	}
	return "unknown protocol"
}

// JSON says whether bodies are JSON.
func (p Protocol) JSON() bool { return p == JSON11 || p == RestJSON }

// An API is one AWS service on the wire. Fill the fields, Handle the operations, then Add it to a
// Mux; it doesn't change after that.
type API struct {
	SigningName string // SigV4 service name and IAM action prefix, such as "ecs"
	Protocol    Protocol
	Target      string // X-Amz-Target prefix without the dot; JSON services only
	Version     string // Version parameter, such as "2015-12-01"; query and EC2 services only
	Namespace   string // xmlns of the answers; query and EC2 services only
	MaxBody     int64  // largest request body in bytes; 0: 8 MiB

	Status map[string]int // operation → HTTP status of its answer when that isn't 200; REST services only

	ops    map[string]operation
	routes []restRoute // since Add; REST services only
}

type operation struct {
	in, out           reflect.Type // structs
	inShape, outShape *shape       // since Add
	run               func(ctx context.Context, in any) (any, error)
}

// Handle registers fn. The operation's name is In's type name without "Input", so a registration
// can't name an operation that the SDK doesn't have. An operation registered twice, or an In that
// is no input, is a programming error and panics.
func Handle[In, Out any](a *API, fn func(context.Context, *In) (*Out, error)) {
	HandleType(a, reflect.TypeFor[In](), reflect.TypeFor[Out](), func(ctx context.Context, in any) (any, error) {
		out, err := fn(ctx, in.(*In))
		if err != nil {
			return nil, err
		}
		emptyLists(reflect.ValueOf(out).Elem())
		return out, nil
	})
}

// emptyLists makes the lists of an output that are nil empty: AWS writes them, too
// ("clusterArns": []), and scripts count on it.
func emptyLists(out reflect.Value) {
	for i := range out.NumField() {
		if f := out.Field(i); f.Kind() == reflect.Slice && f.IsNil() && out.Type().Field(i).IsExported() && f.Type().Elem().Kind() != reflect.Uint8 {
			f.Set(reflect.MakeSlice(f.Type(), 0, 0))
		}
	}
}

// HandleType is Handle for those who know the types only at run time, such as tests over all
// operations of a client. fn takes a pointer to an in and returns one to an out.
func HandleType(a *API, in, out reflect.Type, fn func(ctx context.Context, in any) (any, error)) {
	name, ok := strings.CutSuffix(in.Name(), "Input")
	if !ok || in.Kind() != reflect.Struct {
		panic("awswire: " + in.String() + " is not an SDK input type")
	}
	if out.Name() != name+"Output" || out.Kind() != reflect.Struct {
		panic("awswire: " + out.String() + " is not the output type of " + name)
	}
	if _, dup := a.ops[name]; dup {
		panic("awswire: duplicate operation " + name)
	}
	if a.ops == nil {
		a.ops = map[string]operation{}
	}
	a.ops[name] = operation{in: in, out: out, run: fn}
}

// Operations returns the names of the registered operations in order.
func (a *API) Operations() []string {
	return slices.Sorted(maps.Keys(a.ops))
}

// Private

// prepare works out the shapes of all operations.
func (a *API) prepare() {
	if a.Protocol == RestJSON {
		a.routes = restRoutes(a.SigningName)
	}
	s := &schema{protocol: a.Protocol, shapes: map[reflect.Type]*shape{}}
	for name, o := range a.ops {
		o.inShape, o.outShape = s.of(o.in), s.of(o.out)
		a.ops[name] = o
	}
}
