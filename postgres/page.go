package postgres

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/genericcorp/corp"
)

// position is where a page begins: after the row made at this moment with this id.
type position struct {
	at time.Time // to the microsecond, as the database keeps it
	id [16]byte
}

// afterEverything is before the first row of a list that runs backwards in time.
var afterEverything = position{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), [16]byte{0xff}}

func (p position) cursor() string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(p.at.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(append(raw, p.id[:]...))
}

// start reads a page's cursor and size. A cursor that is not one of ours is invalid.
func start(p corp.Page) (position, int, error) {
	limit := min(p.Limit, corp.MaxPage)
	if limit <= 0 {
		limit = corp.DefaultPage
	}
	if p.Cursor == "" {
		return afterEverything, limit, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || len(raw) != 24 {
		return position{}, 0, corp.Invalid("cursor", "That is not a cursor of this list.", "Pass next_cursor of the page before, unchanged.")
	}
	micros := int64(binary.BigEndian.Uint64(raw))
	if micros < 0 || micros > afterEverything.at.UnixMicro() {
		return position{}, 0, corp.Invalid("cursor", "That is not a cursor of this list.", "Pass next_cursor of the page before, unchanged.")
	}
	return position{time.UnixMicro(micros).UTC(), [16]byte(raw[8:])}, limit, nil
}

// page makes a list of what was asked for with one row more than the limit.
func page[T any](found []T, limit int, at func(T) position) corp.List[T] {
	if len(found) <= limit {
		return corp.List[T]{Items: orEmpty(found)}
	}
	return corp.List[T]{Items: found[:limit], NextCursor: at(found[limit-1]).cursor()}
}

// orEmpty makes JSON write [] and not null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
