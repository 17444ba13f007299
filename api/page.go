package api

import "github.com/genericcorp/corp"

// body is an answer of JSON.
type body[T any] struct{ Body T }

// answer wraps what a look-up returned.
func answer[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return &body[T]{v}, nil
}

// answerList is answer for a page: an empty page is [] and never null.
func answerList[T any](list corp.List[T], err error) (*body[corp.List[T]], error) {
	if list.Items == nil {
		list.Items = []T{}
	}
	return answer(list, err)
}

// answerItems is answerList for what is not paged by a cursor.
func answerItems[T any](items []T, err error) (*body[corp.List[T]], error) {
	return answerList(corp.List[T]{Items: items}, err)
}

// PageInput asks for a page of a list.
type PageInput struct {
	Cursor string `query:"cursor" maxLength:"500" doc:"The next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"Most items of the page."`
}

func (p PageInput) page() corp.Page { return corp.Page{Cursor: p.Cursor, Limit: p.Limit} }

// nothing is the input of an operation that takes none, or the answer of one
// that returns none.
type nothing struct{}
