package api

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp/client"
)

// The client may not import the API, so some bodies are written down on both
// sides. They must be the same on the wire.
func TestTheClientsBodiesAreTheServers(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]reflect.Type{
		{reflect.TypeFor[whoamiBody](), reflect.TypeFor[client.Whoami]()},
		{reflect.TypeFor[workspaceRequest](), reflect.TypeFor[client.WorkspaceRequest]()},
		{reflect.TypeFor[newWorkspace](), reflect.TypeFor[client.NewWorkspace]()},
		{reflect.TypeFor[readyBody](), reflect.TypeFor[client.Readiness]()},
		{reflect.TypeFor[readyPart](), reflect.TypeFor[client.ReadinessPart]()},
		{reflect.TypeFor[limitRequest](), reflect.TypeFor[client.LimitRequest]()},
		{reflect.TypeFor[repositoryRequest](), reflect.TypeFor[client.RepositoryRequest]()},
		{reflect.TypeFor[providerRequest](), reflect.TypeFor[client.ProviderRequest]()},
		{reflect.TypeFor[apiKeyRequest](), reflect.TypeFor[client.APIKeyRequest]()},
		{reflect.TypeFor[newAPIKey](), reflect.TypeFor[client.NewAPIKey]()},
	} {
		if diff := cmp.Diff(wire(pair[0]), wire(pair[1])); diff != "" {
			t.Errorf("%s and %s differ: %s", pair[0], pair[1], diff)
		}
	}
}

// wire lists a struct's fields as JSON names them, with their kinds.
func wire(typ reflect.Type) map[string]string {
	fields := map[string]string{}
	for _, f := range reflect.VisibleFields(typ) {
		if !f.Anonymous {
			fields[f.Tag.Get("json")] = f.Type.Kind().String()
		}
	}
	return fields
}
