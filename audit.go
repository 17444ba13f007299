package corp

import (
	"encoding/json"
	"time"
)

// AuditResult is what became of what somebody tried.
type AuditResult string

// The results.
const (
	AuditDone   AuditResult = "done"
	AuditDenied AuditResult = "denied"
)

// AuditEvent says who did, or tried to do, what, when, to what. It is never
// changed. What may identify a person stands apart in Personal and can be erased;
// PersonalHash remains, so that the chain does not break.
type AuditEvent struct {
	ID           AuditID         `json:"id"`
	At           time.Time       `json:"at"`
	Actor        Actor           `json:"actor"`         // a user, a key that is nobody's, a run, the operator, or "system"
	Via          Actor           `json:"via,omitempty"` // the key or session it came through
	Operation    string          `json:"operation"`     // of the API: "createAPIKey", or of the server itself
	Action       Action          `json:"action"`
	Target       string          `json:"target,omitempty"` // the id or name it was done to
	Result       AuditResult     `json:"result"`
	RequestID    string          `json:"request_id,omitempty"`
	Changes      json.RawMessage `json:"changes,omitempty"`       // what changed; no secrets, no personal data
	PersonalHash string          `json:"personal_hash,omitempty"` // SHA-256 in hex
	Personal     *AuditPersonal  `json:"personal,omitempty"`      // nil when erased
}

// AuditPersonal is what may identify a person in an audit event.
type AuditPersonal struct {
	Salt      string `json:"salt"` // makes the hash no oracle
	Address   string `json:"address,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
	Email     string `json:"email,omitempty"`
}
