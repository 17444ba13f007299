// Package contexts keeps what a command line signs in to servers with, for its user: a
// key or a session for each, by name, in one file that nobody else reads.
//
// Several processes share the file. They take turns at changing it, so that a
// session's refresh credential is exchanged once, and what came of it is stored before it is used.
//
// It chooses no server, asks no person anything, and never sends a credential to
// another server than the one it was given by.
package contexts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/genericcorp/corp"
)

// Context is a server, and what it is signed in to with: a key, or a session.
type Context struct {
	Server  string    `json:"server"`
	Key     string    `json:"key,omitempty"`
	Access  string    `json:"access,omitempty"` // a session's, until then
	Until   time.Time `json:"until,omitzero"`
	Refresh string    `json:"refresh,omitempty"`
}

// IsSession says whether it is a person's session, and no key.
func (c Context) IsSession() bool { return c.Refresh != "" }

// Credential is what a request is sent with now.
func (c Context) Credential() string {
	if c.IsSession() {
		return c.Access
	}
	return c.Key
}

// Via says what it signs in with, for people.
func (c Context) Via() string {
	if c.IsSession() {
		return "session"
	}
	return "key"
}

// with returns the context with another access token, and the next refresh credential
// if there is one.
func (c Context) with(access string, seconds int64, refresh string) Context {
	c.Access, c.Until = access, time.Now().Add(time.Duration(seconds)*time.Second).UTC()
	if refresh != "" {
		c.Refresh = refresh
	}
	return c
}

// Set is what is in the file.
type Set struct {
	Current string             `json:"current,omitempty"` // may be empty
	Known   map[string]Context `json:"contexts"`
}

// Use makes another context the current one. One that is not known is an invalid
// error about the field context.
func (s *Set) Use(name string) error {
	if _, known := s.Known[name]; !known {
		return Unknown(name)
	}
	s.Current = name
	return nil
}

// Drop forgets a context. One that is not known is an invalid error, as with Use.
func (s *Set) Drop(name string) error {
	if _, known := s.Known[name]; !known {
		return Unknown(name)
	}
	delete(s.Known, name)
	if s.Current == name {
		s.Current = ""
	}
	return nil
}

// Unknown is the error about a name that no context has.
func Unknown(name string) error {
	return corp.Invalid("context", fmt.Sprintf("There is no context %q.", name), "\"corp context list\" shows them; \"corp login\" makes one.")
}

// SameServer says whether two addresses are written alike.
func SameServer(a, b string) bool { return strings.TrimRight(a, "/") == strings.TrimRight(b, "/") }

// File is where a set is kept: its path.
type File string

// Read returns the set; an empty one when there is no file.
func (f File) Read() (Set, error) {
	var s Set
	b, err := os.ReadFile(string(f))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("read the contexts: %w", err)
	}
	if s.Known == nil {
		s.Known = map[string]Context{}
	}
	return s, nil
}

// Change lets one process at a time change the set, which it reads anew. Nothing is
// written when change returns an error, which Change returns.
func (f File) Change(change func(*Set) error) error {
	if err := os.MkdirAll(filepath.Dir(string(f)), 0o700); err != nil {
		return fmt.Errorf("make the folder of the contexts: %w", err)
	}
	lock, err := os.OpenFile(string(f)+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the contexts: %w", err)
	}
	defer func() { _ = lock.Close() }() // which unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the contexts: %w", err)
	}
	s, err := f.Read()
	if err != nil {
		return err
	}
	if err := change(&s); err != nil {
		return err
	}
	return f.replace(s)
}

// replace writes the set: whoever reads the file sees the old one or the new one.
func (f File) replace(s Set) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	fresh, err := os.CreateTemp(filepath.Dir(string(f)), "contexts-*.new") // for its owner only
	if err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	_, err = fresh.Write(append(b, '\n'))
	if err = errors.Join(err, fresh.Sync(), fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), string(f))
	}
	if err != nil {
		_ = os.Remove(fresh.Name())
		return fmt.Errorf("write the contexts: %w", err)
	}
	return nil
}
