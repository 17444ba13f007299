package api

import (
	"context"
	"errors"
	"sync"

	"github.com/genericcorp/corp"
)

var errStopping = errors.New("this server is stopping")

// leaving is closed when the server is about to stop.
type leaving struct {
	once sync.Once
	done chan struct{}
}

// Leave tells everybody to go to another server: readiness says no, polls and
// streams end at once, and new polls are refused. Other requests are answered as
// before, for as long as the listener lives.
func (a *API) Leave() { a.leaving.once.Do(func() { close(a.leaving.done) }) }

func (a *API) stopping() bool {
	select {
	case <-a.leaving.done:
		return true
	default:
		return false
	}
}

// whileServing is ctx, ended when the server is about to stop: for requests that
// wait for news, which another server can tell.
func (a *API) whileServing(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-a.leaving.done:
			cancel(errStopping)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

func stopping() error {
	return &corp.Error{Kind: corp.KindUnavailable, Code: codeStopping, Message: "This server is stopping.", Hint: "Ask another server, or this one in a moment."}
}
