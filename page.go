package corp

// The size of a page when none is asked for, and the largest one.
const (
	DefaultPage = 50
	MaxPage     = 500
)

// Page asks for a part of a list, newest first: at most Limit items after the
// one that Cursor names. The cursor is opaque to callers.
type Page struct {
	Cursor string
	Limit  int
}

// List is one page of items. NextCursor is empty on the last page.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty"`
}
