package corp

import (
	"errors"
	"fmt"
)

// Kind says what sort of failure an error is. The list is closed: it survives
// the wire, and one function in api maps each kind to an HTTP status.
type Kind string

// The kinds of errors.
const (
	KindInvalid         Kind = "invalid"         // the input is wrong; Field names the place
	KindUnauthenticated Kind = "unauthenticated" // no credential, or one that is not valid
	KindForbidden       Kind = "forbidden"       // the credential's role does not allow it
	KindNotFound        Kind = "not_found"       // no such object, or one of another workspace
	KindConflict        Kind = "conflict"        // the state does not allow it now
	KindLeaseLost       Kind = "lease_lost"      // the run belongs to another epoch
	KindLimit           Kind = "limit_reached"   // a budget, quota or rate is used up
	KindUnavailable     Kind = "unavailable"     // a part is down; the same call may work later
	KindInternal        Kind = "internal"        // our fault; the cause is logged, never sent
)

// Error is a failure that a person may read. Message is a full sentence; Hint
// says what to do next; Field names the input that is wrong; Err is the cause,
// which is logged and never sent to a client.
type Error struct {
	Kind    Kind
	Code    string // narrower than Kind, stable, for programs; may be empty
	Message string
	Field   string
	Hint    string
	Err     error
}

// Error returns the message, with the cause behind it if there is one.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s (%v)", e.Message, e.Err)
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first *Error in err's chain, and KindInternal
// for any other error. It returns the empty kind for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}

// Invalid reports input that is wrong, naming its field and the next step.
func Invalid(field, message, hint string) *Error {
	return &Error{Kind: KindInvalid, Field: field, Message: message, Hint: hint}
}

// NotFound reports an object that does not exist or belongs to another
// workspace: the two are never told apart.
func NotFound(noun string) *Error {
	return &Error{Kind: KindNotFound, Message: "There is no such " + noun + ".", Hint: "Check its name or id, and that your key belongs to the same workspace."}
}

// Conflict reports that the present state does not allow the change.
func Conflict(message, hint string) *Error {
	return &Error{Kind: KindConflict, Message: message, Hint: hint}
}

// LeaseLost reports that a run is no longer the caller's.
func LeaseLost() *Error {
	return &Error{Kind: KindLeaseLost, Message: "This run is no longer leased to you.", Hint: "Stop the agent and discard the run."}
}
