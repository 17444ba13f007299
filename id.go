package corp

import (
	"crypto/rand"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// ID names one object of the noun N. It is a UUIDv7 (RFC 9562), so ids sort by
// the time of their making; at the edge it is written as the noun's prefix and
// 26 base32 characters ("task_06f3…"), which can be grepped from the browser
// through the log to the database. An id is a name and never a secret.
type ID[N noun] [16]byte

// noun ties an ID to what it names, so that a task's id does not pass for a run's.
type noun interface{ prefix() string }

type (
	workspaceNoun  struct{}
	userNoun       struct{}
	apiKeyNoun     struct{}
	operatorNoun   struct{}
	agentNoun      struct{}
	repositoryNoun struct{}
	providerNoun   struct{}
	taskNoun       struct{}
	runNoun        struct{}
	runnerNoun     struct{}
	callNoun       struct{}
	blobNoun       struct{}
	budgetNoun     struct{}
	allowanceNoun  struct{}
	serverNoun     struct{}
	priceNoun      struct{}
	scheduleNoun   struct{}
	batchNoun      struct{}
	sessionNoun    struct{}
	invitationNoun struct{}
	auditNoun      struct{}
	mailNoun       struct{}
	signingKeyNoun struct{}
)

func (workspaceNoun) prefix() string  { return "ws" }
func (userNoun) prefix() string       { return "user" }
func (apiKeyNoun) prefix() string     { return "key" }
func (operatorNoun) prefix() string   { return "operator" }
func (agentNoun) prefix() string      { return "agent" }
func (repositoryNoun) prefix() string { return "repo" }
func (providerNoun) prefix() string   { return "provider" }
func (taskNoun) prefix() string       { return "task" }
func (runNoun) prefix() string        { return "run" }
func (runnerNoun) prefix() string     { return "runner" }
func (callNoun) prefix() string       { return "call" }
func (blobNoun) prefix() string       { return "blob" }
func (budgetNoun) prefix() string     { return "budget" }
func (allowanceNoun) prefix() string  { return "allowance" }
func (serverNoun) prefix() string     { return "server" }
func (priceNoun) prefix() string      { return "price" }
func (scheduleNoun) prefix() string   { return "schedule" }
func (batchNoun) prefix() string      { return "batch" }
func (sessionNoun) prefix() string    { return "session" }
func (invitationNoun) prefix() string { return "invitation" }
func (auditNoun) prefix() string      { return "audit" }
func (mailNoun) prefix() string       { return "mail" }
func (signingKeyNoun) prefix() string { return "signkey" }

// The ids of the nouns.
type (
	WorkspaceID  = ID[workspaceNoun]
	UserID       = ID[userNoun]
	APIKeyID     = ID[apiKeyNoun]
	OperatorID   = ID[operatorNoun]
	AgentID      = ID[agentNoun]
	RepositoryID = ID[repositoryNoun]
	ProviderID   = ID[providerNoun]
	TaskID       = ID[taskNoun]
	RunID        = ID[runNoun]
	RunnerID     = ID[runnerNoun]
	CallID       = ID[callNoun]
	BlobID       = ID[blobNoun]
	BudgetID     = ID[budgetNoun]
	AllowanceID  = ID[allowanceNoun]
	ServerID     = ID[serverNoun]
	PriceID      = ID[priceNoun]
	ScheduleID   = ID[scheduleNoun]
	BatchID      = ID[batchNoun]
	SessionID    = ID[sessionNoun]
	InvitationID = ID[invitationNoun]
	AuditID      = ID[auditNoun]
	MailID       = ID[mailNoun]
	SigningKeyID = ID[signingKeyNoun]
)

// AnyID is any of the id types: NewID[corp.TaskID]() makes a task's.
type AnyID interface {
	~[16]byte
	Prefix() string
}

// Prefix returns what the text form begins with, without the underscore.
func (id ID[N]) Prefix() string {
	var n N
	return n.prefix()
}

// NewID makes a fresh id from the clock and 74 random bits.
func NewID[I AnyID]() I { return NewIDAt[I](time.Now()) }

// NewIDAt makes a fresh id that carries the time t, in milliseconds.
func NewIDAt[I AnyID](t time.Time) I {
	var id [16]byte
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(t.UnixMilli(), 0)))
	copy(id[:6], ms[2:])
	_, _ = rand.Read(id[6:]) // crypto/rand.Read never fails
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return I(id)
}

// Time returns when the id was made, to the millisecond, in UTC.
func (id ID[N]) Time() time.Time {
	var ms [8]byte
	copy(ms[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))).UTC()
}

// IsZero says whether the id names nothing.
func (id ID[N]) IsZero() bool { return id == ID[N]{} }

// base32 in Crockford's alphabet, lower case: no i, l, o, u; sorts like the bytes.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// suffixLength is ceil(128 bits / 5 bits).
const suffixLength = 26

// String returns the prefixed form, or "" for the zero id.
func (id ID[N]) String() string {
	if id.IsZero() {
		return ""
	}
	hi, lo := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	var out [suffixLength]byte
	for i := suffixLength - 1; i >= 0; i-- {
		out[i] = alphabet[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return id.Prefix() + "_" + string(out[:])
}

// ParseID reads the prefixed form. It returns an invalid error that names the
// prefix it expected, also for the zero id, which names nothing.
func ParseID[I AnyID](s string) (I, error) {
	var zero I
	prefix := zero.Prefix() + "_"
	wrong := Invalid("id", "That is not an id of this kind.", fmt.Sprintf("An id of this kind starts with %q and has %d more characters.", prefix, suffixLength))
	body, ok := strings.CutPrefix(s, prefix)
	if !ok || len(body) != suffixLength || body[0] > '7' {
		return zero, wrong
	}
	var hi, lo uint64
	for _, c := range []byte(body) {
		v := strings.IndexByte(alphabet, c)
		if v < 0 {
			return zero, wrong
		}
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(v)
	}
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
	if id == ([16]byte{}) {
		// It has no text: in a path or a body it would be left out.
		return zero, Invalid("id", "An id of nothing but zeros names nothing.", "Take the id from a list or from what an earlier command printed.")
	}
	return I(id), nil
}

// MarshalText writes the prefixed form, for JSON and query strings.
func (id ID[N]) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the prefixed form; the empty text is the zero id.
func (id *ID[N]) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*id = ID[N]{}
		return nil
	}
	*id, err = ParseID[ID[N]](string(b))
	return err
}

// Value gives the database the UUID; the zero id is NULL.
func (id ID[N]) Value() (driver.Value, error) {
	if id.IsZero() {
		return nil, nil
	}
	return id.UUID(), nil
}

// UUID returns the id as RFC 9562 text, as the database and a trace show it.
func (id ID[N]) UUID() string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Scan reads a UUID from the database; NULL is the zero id.
func (id *ID[N]) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*id = ID[N]{}
		return nil
	case [16]byte:
		*id = v
		return nil
	case []byte:
		return id.Scan(string(v))
	case string:
		raw, err := hex.DecodeString(strings.ReplaceAll(v, "-", ""))
		if err != nil || len(raw) != len(id) {
			return fmt.Errorf("scan id: %q is not a UUID", v)
		}
		copy(id[:], raw)
		return nil
	default:
		return fmt.Errorf("scan id: unexpected type %T", src)
	}
}
