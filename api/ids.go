package api

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
)

// idForm is the form of an id after its prefix, as a regular expression.
const idForm = "_[0-7][0-9a-hjkmnp-tv-z]{25}$"

// idText is the schema of an id of one noun: text with its prefix. Without it
// huma would see 16 numbers.
type idText[I corp.AnyID] struct{}

// Schema describes the id, for huma.
func (idText[I]) Schema(huma.Registry) *huma.Schema {
	var id I
	return &huma.Schema{Type: huma.TypeString, Pattern: "^" + id.Prefix() + idForm}
}

// describeIDs makes every id of the vocabulary known to the registry.
func describeIDs(r huma.Registry) {
	describeID[corp.WorkspaceID](r)
	describeID[corp.UserID](r)
	describeID[corp.APIKeyID](r)
	describeID[corp.OperatorID](r)
	describeID[corp.AgentID](r)
	describeID[corp.RepositoryID](r)
	describeID[corp.ProviderID](r)
	describeID[corp.TaskID](r)
	describeID[corp.RunID](r)
	describeID[corp.RunnerID](r)
	describeID[corp.CallID](r)
	describeID[corp.BlobID](r)
	describeID[corp.PriceID](r)
	describeID[corp.BatchID](r)
	describeID[corp.ScheduleID](r)
	describeID[corp.AuditID](r)
	describeID[corp.MailID](r)
	describeID[corp.InvitationID](r)
	describeID[corp.SessionID](r)
	describeID[corp.ServerID](r)
	describeID[corp.SigningKeyID](r)
}

func describeID[I corp.AnyID](r huma.Registry) {
	r.RegisterTypeAlias(reflect.TypeFor[I](), reflect.TypeFor[idText[I]]())
}
