package main

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/client/contexts"
	"github.com/genericcorp/corp/cmd/corp/incident"
)

// patience is how long the command line waits for a server that is starting
// again, before it gives up.
const patience = 20 * time.Second

func (o *options) clientOptions() client.Options {
	return client.Options{Patience: patience, UserAgent: "corp/" + version}
}

func (o *options) clientOptionsOf(s *contexts.Session) client.Options {
	opts := o.clientOptions()
	opts.Credential = s
	return opts
}

// thisMachine is the name of the server that runs here, with the keys that it left for
// its user. No other context is called so.
const thisMachine = "local"

// contexts is where what this user signs in with is kept.
func (o *options) contexts() contexts.File {
	dir := o.env.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		dir = filepath.Join(o.env.Getenv("HOME"), ".config")
	}
	return contexts.File(filepath.Join(dir, "corp", "contexts.json"))
}

// chosenContext returns the context that the flags, the environment or the file name.
// A name that was given must be known; without one there may be none.
func (o *options) chosenContext() (name string, c contexts.Context, err error) {
	set, err := o.contexts().Read()
	if err != nil {
		return "", c, err
	}
	name = cmp.Or(o.Context, o.env.Getenv("CORP_CONTEXT"), set.Current)
	if name == thisMachine {
		return "", c, nil
	}
	c, known := set.Known[name]
	switch {
	case known:
		return name, c, nil
	case o.namesContext():
		return "", c, usageError{contexts.Unknown(name)}
	default:
		return "", c, nil
	}
}

// how says what a client signs in with, for people.
func how(in *contexts.Session) string {
	if in == nil {
		return "key"
	}
	return "session (context " + in.Name + ")"
}

// signIn is a server, and what it is signed in to with: a key or a session.
type signIn struct {
	server, key string
	session     *contexts.Session
}

// connect returns a client for the server that the flags, the environment, the
// chosen context or this machine's own server name, in that order.
func (o *options) connect() (*client.Client, error) {
	c, _, err := o.connectAs(func(l local) string { return l.Key }, func(contexts.Context) bool { return true })
	return c, err
}

// connectOperator is connect with the operator's key. A context that holds none is
// not asked.
func (o *options) connectOperator() (*client.Client, error) {
	c, _, err := o.connectAs(func(l local) string { return l.Operator }, func(r contexts.Context) bool {
		prefix, _ := corp.SecretPrefix(r.Key)
		return prefix == corp.KeyPrefixOp || o.namesContext()
	})
	return c, err
}

// connectSession is connect, and the session that it is with; nil for a key.
func (o *options) connectSession() (*client.Client, *contexts.Session, error) {
	return o.connectAs(func(l local) string { return l.Key }, func(contexts.Context) bool { return true })
}

// incidents makes the operator's commands for when something has happened.
func (o *options) incidents() incident.Commands {
	return incident.Commands{Connect: o.connectOperator, Print: o.print, Usage: func(err error) error { return usageError{err} }}
}

func (o *options) namesContext() bool { return o.Context != "" || o.env.Getenv("CORP_CONTEXT") != "" }

func (o *options) connectAs(which func(local) string, may func(contexts.Context) bool) (*client.Client, *contexts.Session, error) {
	in := signIn{server: o.Server, key: o.Key}
	if in.server == "" {
		in.server = o.env.Getenv("CORP_SERVER")
	}
	if in.key == "" {
		in.key = o.env.Getenv("CORP_KEY")
	}
	if err := o.fillIn(&in, which, may); err != nil {
		return nil, nil, err
	}
	if in.server == "" {
		return nil, nil, o.nowhere()
	}
	if in.session != nil {
		return client.New(in.server, "", o.clientOptionsOf(in.session)), in.session, nil
	}
	if in.key == "" {
		return nil, nil, &corp.Error{Kind: corp.KindUnauthenticated, Field: "key", Message: "There is no key for " + in.server + ".", Hint: "Sign in with \"corp login " + in.server + "\", or give a key with --key or CORP_KEY; \"corp key create\" makes one on the server's machine."}
	}
	return client.New(in.server, in.key, o.clientOptions()), nil, nil
}

// nowhere says that no server is known, and how to name one.
func (o *options) nowhere() error {
	e := &corp.Error{
		Kind: corp.KindUnavailable, Message: "No server is running on this machine that this user may use.",
		Hint: "Start one with \"corp up\", sign in to one with \"corp login\", or name one with --server and --key (or CORP_SERVER and CORP_KEY). A server whose data is elsewhere is found with --data or CORP_DATA.",
	}
	set, err := o.contexts().Read()
	if err != nil || len(set.Known) == 0 {
		return e
	}
	names := strings.Join(slices.Sorted(maps.Keys(set.Known)), ", ")
	if set.Current == "" && !o.namesContext() {
		e.Message, e.Hint = "It is not said which server to use.", "You are signed in to: "+names+". Choose one with \"corp context use NAME\", or sign in with \"corp login\"."
	} else {
		e.Message = "This needs the operator's key, and no server of this machine has left one where this user may read it."
		e.Hint = "On the server's machine, as the user that runs it, add --context local, and --data (or CORP_DATA) if its data is elsewhere."
	}
	return e
}

// fillIn takes what is missing from the context, and then from this machine's own
// server. What somebody signs in with belongs to its installation: it is never sent
// to another.
func (o *options) fillIn(in *signIn, which func(local) string, may func(contexts.Context) bool) error {
	if in.server != "" && in.key != "" {
		return nil
	}
	name, r, err := o.chosenContext()
	if err != nil {
		return err
	}
	if name != "" && may(r) {
		if in.server == "" {
			in.server = r.Server
		}
		if in.key == "" && contexts.SameServer(in.server, r.Server) {
			if in.key = r.Key; r.IsSession() {
				in.session = o.contexts().Session(name, r, o.clientOptions())
			}
			return nil
		}
		if o.namesContext() {
			return nil
		}
	}
	if in.server != "" && in.key != "" {
		return nil
	}
	l, err := readLocal(o.dataFolder())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if in.server == "" {
		in.server = l.Server
	}
	if in.key == "" && names(in.server, l.Server) {
		in.key = which(l)
	}
	return nil
}
