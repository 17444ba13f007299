package door

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/genericcorp/corp"
)

// Position is where a page begins: after the row made at this moment with this id.
type Position struct {
	At time.Time // to the microsecond, as the database keeps it
	ID [16]byte
}

// At is the place after a row.
func At(at time.Time, id [16]byte) Position { return Position{at, id} }

// AfterEverything is before the first row of a list that runs backwards in time.
var AfterEverything = Position{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), [16]byte{0xff}}

func (p Position) cursor() string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(p.At.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(append(raw, p.ID[:]...))
}

// Start reads a page's cursor and size. A cursor that is not one of ours is invalid.
func Start(p corp.Page) (Position, int, error) {
	limit := min(p.Limit, corp.MaxPage)
	if limit <= 0 {
		limit = corp.DefaultPage
	}
	if p.Cursor == "" {
		return AfterEverything, limit, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || len(raw) != 24 {
		return Position{}, 0, corp.Invalid("cursor", "That is not a cursor of this list.", "Pass next_cursor of the page before, unchanged.")
	}
	micros := int64(binary.BigEndian.Uint64(raw))
	if micros < 0 || micros > AfterEverything.At.UnixMicro() {
		return Position{}, 0, corp.Invalid("cursor", "That is not a cursor of this list.", "Pass next_cursor of the page before, unchanged.")
	}
	return Position{time.UnixMicro(micros).UTC(), [16]byte(raw[8:])}, limit, nil
}

// Page makes a list of what was asked for with one row more than the limit.
func Page[T any](found []T, limit int, at func(T) Position) corp.List[T] {
	if len(found) <= limit {
		return corp.List[T]{Items: OrEmpty(found)}
	}
	return corp.List[T]{Items: found[:limit], NextCursor: at(found[limit-1]).cursor()}
}

// OrEmpty makes JSON write [] and not null.
func OrEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
