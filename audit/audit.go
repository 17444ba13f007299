// Package audit makes a log of who did what provable: the canonical bytes of an
// event, the chain of hashes through them, signed checkpoints, the form in which
// a log leaves the database, and the check that names the first row which is not
// what it was.
//
// It is pure: it knows no database, no clock and no secret but the signing key
// it is handed. What the bytes are is fixed (see docs/audit.md), and a change of
// them is another version of the format.
package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"

	"github.com/genericcorp/corp"
)

// The labels keep a hash or signature of one thing from passing for another's.
const (
	labelLink       = "corp audit 1"
	labelEvent      = "corp audit event 1"
	labelPersonal   = "corp audit personal 1"
	labelCheckpoint = "corp audit checkpoint 1"
)

// Hash is a link of the chain: SHA-256. The zero hash is what comes before the first.
type Hash [sha256.Size]byte

// String writes the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 hexadecimal digits; anything else is an error.
func (h *Hash) UnmarshalText(text []byte) error {
	var read Hash
	if len(text) != 2*len(read) {
		return errDigits
	}
	if _, err := hex.Decode(read[:], text); err != nil {
		return errDigits
	}
	*h = read
	return nil
}

// parts joins byte strings so that no two lists of them look the same: each is
// preceded by its length, 8 bytes big endian.
type parts []byte

func (p *parts) add(b []byte) {
	*p = binary.BigEndian.AppendUint64(*p, uint64(len(b)))
	*p = append(*p, b...)
}

func (p *parts) text(s string) { p.add([]byte(s)) }

func (p *parts) number(n int64) {
	p.add(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// Canonical returns the bytes of an event that its hash is made from: a label
// with the version, then each field in a fixed order, with its length before it.
// The time counts in microseconds. Personal is not among them: PersonalHash is.
func Canonical(e corp.AuditEvent) []byte {
	var p parts
	p.text(labelEvent)
	p.add(e.ID[:])
	p.number(e.At.UnixMicro())
	p.text(string(e.Actor))
	p.text(string(e.Via))
	p.text(e.Operation)
	p.text(string(e.Action))
	p.text(e.Target)
	p.text(string(e.Result))
	p.text(e.RequestID)
	p.add(compact(e.Changes))
	p.text(e.PersonalHash)
	return p
}

// compact returns JSON without its spaces, as every marshaller of this package
// writes it, so that a way through JSON changes no hash. What is no JSON stays.
func compact(changes json.RawMessage) []byte {
	if len(changes) == 0 {
		return nil
	}
	if b, err := json.Marshal(changes); err == nil {
		return b
	}
	return changes
}

// PersonalHash returns what an event keeps of personal data, in hexadecimal.
// The salt makes it useless to who would guess the data. nil has the hash "".
func PersonalHash(personal *corp.AuditPersonal) string {
	if personal == nil {
		return ""
	}
	var p parts
	p.text(labelPersonal)
	p.text(personal.Salt)
	p.text(personal.Address)
	p.text(personal.UserAgent)
	p.text(personal.Email)
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

// Next returns the link that follows prev: of the event with the number seq, from
// 1, in the chain of the workspace. The installation's workspace is the zero id.
func Next(prev Hash, ws corp.WorkspaceID, seq int64, e corp.AuditEvent) Hash {
	var p parts
	p.text(labelLink)
	p.add(prev[:])
	p.add(ws[:])
	p.number(seq)
	p.add(Canonical(e))
	return sha256.Sum256(p)
}
