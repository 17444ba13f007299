package contexts

import (
	"context"
	"sync"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// renewBefore the end of an access token another one is asked for.
const renewBefore = 30 * time.Second

// Session is the credential of a context that somebody signed in to, for client.Options.
// It is safe for concurrent use, also by several processes.
type Session struct {
	Name string // of the context

	file File
	opts client.Options
	mu   sync.Mutex
	kept Context
}

// Session returns the credential of a context. The options are those of the client
// that exchanges it.
func (f File) Session(name string, c Context, opts client.Options) *Session {
	return &Session{Name: name, file: f, opts: opts, kept: c}
}

// Key returns the access token, another one when it is about to end.
func (s *Session) Key(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Until(s.kept.Until) > renewBefore {
		return s.kept.Access, nil
	}
	return s.renew(ctx, s.kept.Access)
}

// Renew returns an access token in place of one that was refused.
func (s *Session) Renew(ctx context.Context, refused string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept.Access != refused {
		return s.kept.Access, nil
	}
	return s.renew(ctx, refused)
}

// renew exchanges the refresh credential, one process at a time. What another process
// got meanwhile is as good.
func (s *Session) renew(ctx context.Context, old string) (string, error) {
	err := s.file.Change(func(set *Set) error {
		c, known := set.Known[s.Name]
		if !known || !c.IsSession() || !SameServer(c.Server, s.kept.Server) {
			return s.over()
		}
		if c.Access == old || time.Until(c.Until) <= renewBefore {
			fresh, err := client.New(c.Server, "", s.opts).Refresh(ctx, c.Refresh)
			if err != nil {
				return err
			}
			c = c.with(fresh.Access, fresh.ExpiresIn, fresh.Refresh)
			set.Known[s.Name] = c
		}
		s.kept = c
		return nil
	})
	if corp.KindOf(err) == corp.KindUnauthenticated {
		err = s.over()
	}
	return s.kept.Access, err
}

// Store keeps an access token that the server gave in place of the one from before.
func (s *Session) Store(access string, seconds int64) error {
	s.mu.Lock() // before the file's lock, as everywhere
	defer s.mu.Unlock()
	return s.file.Change(func(set *Set) error {
		c, known := set.Known[s.Name]
		if !known {
			return s.over()
		}
		c = c.with(access, seconds, "")
		set.Known[s.Name], s.kept = c, c
		return nil
	})
}

func (s *Session) over() error {
	return &corp.Error{Kind: corp.KindUnauthenticated, Code: "signed_out", Message: "You are not signed in to " + s.kept.Server + " any more.", Hint: "Sign in again: corp login " + s.kept.Server}
}
