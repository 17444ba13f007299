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
		{reflect.TypeFor[checkpointBody](), reflect.TypeFor[client.Checkpoint]()},
		{reflect.TypeFor[erased](), reflect.TypeFor[client.Erased]()},
		{reflect.TypeFor[invitationRequest](), reflect.TypeFor[client.InvitationRequest]()},
		{reflect.TypeFor[registerRequest](), reflect.TypeFor[client.RegisterRequest]()},
		{reflect.TypeFor[emailRequest](), reflect.TypeFor[client.EmailRequest]()},
		{reflect.TypeFor[newcomerRequest](), reflect.TypeFor[client.NewcomerRequest]()},
		{reflect.TypeFor[loginRequest](), reflect.TypeFor[client.LoginRequest]()},
		{reflect.TypeFor[refreshRequest](), reflect.TypeFor[client.RefreshRequest]()},
		{reflect.TypeFor[passwordReset](), reflect.TypeFor[client.PasswordReset]()},
		{reflect.TypeFor[signedInBody](), reflect.TypeFor[client.SignedIn]()},
		{reflect.TypeFor[issuerList](), reflect.TypeFor[client.Issuers]()},
		{reflect.TypeFor[elsewhereBody](), reflect.TypeFor[client.Elsewhere]()},
		{reflect.TypeFor[newDeviceBody](), reflect.TypeFor[client.NewDevice]()},
		{reflect.TypeFor[deviceRequest](), reflect.TypeFor[client.DeviceRequest]()},
		{reflect.TypeFor[meBody](), reflect.TypeFor[client.Me]()},
		{reflect.TypeFor[linkedBody](), reflect.TypeFor[client.Linked]()},
		{reflect.TypeFor[againRequest](), reflect.TypeFor[client.Again]()},
		{reflect.TypeFor[passwordRequest](), reflect.TypeFor[client.PasswordRequest]()},
		{reflect.TypeFor[newEmailRequest](), reflect.TypeFor[client.NewEmailRequest]()},
		{reflect.TypeFor[tokenRequest](), reflect.TypeFor[client.TokenRequest]()},
		{reflect.TypeFor[deletionBody](), reflect.TypeFor[client.Deletion]()},
		{reflect.TypeFor[workInRequest](), reflect.TypeFor[client.WorkInRequest]()},
		{reflect.TypeFor[accessBody](), reflect.TypeFor[client.Access]()},
		{reflect.TypeFor[factorBody](), reflect.TypeFor[client.NewFactor]()},
		{reflect.TypeFor[codeRequest](), reflect.TypeFor[client.CodeRequest]()},
		{reflect.TypeFor[recoveryBody](), reflect.TypeFor[client.RecoveryCodes]()},
		{reflect.TypeFor[deviceAnswer](), reflect.TypeFor[client.DeviceAnswer]()},
		{reflect.TypeFor[waitingBody](), reflect.TypeFor[client.Waiting]()},
		{reflect.TypeFor[myWorkspaceRequest](), reflect.TypeFor[client.MyWorkspaceRequest]()},
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
