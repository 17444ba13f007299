package main

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/client/contexts"
)

func newLogin(o *options) *cobra.Command {
	var browser bool
	cmd := &cobra.Command{
		Use: "login [SERVER]", Short: "Sign in to a server", Args: cobra.MaximumNArgs(1),
		Long: `Shows an address and a code; open it in any browser, compare the code and say yes.
With --key, also --key - for standard input, a key is kept instead.

It is kept as a context called by the server's address. To be signed in there twice, as
two people or with two keys, give one a name of its own: --context NAME.

What you sign in with is kept in contexts.json in ~/.config/corp, for your user only,
and sent to that server only.`,
	}
	cmd.Flags().BoolVar(&browser, "browser", false, "open the page in this machine's browser")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		server, err := o.loginServer(args)
		if err != nil {
			return err
		}
		var r contexts.Context
		if o.Key != "" {
			r, err = o.keyLogin(server)
		} else {
			r, err = o.deviceLogin(cmd.Context(), server, browser)
		}
		if err != nil {
			return err
		}
		me, err := client.New(server, r.Credential(), o.clientOptions()).Whoami(cmd.Context())
		if err != nil {
			return err
		}
		name := o.Context
		if name == "" {
			name = contextName(server)
		}
		if name == thisMachine {
			return usageError{corp.Invalid("context", "\"local\" is the name of this machine's own server.", "Choose another one.")}
		}
		if err := o.endReplaced(cmd.Context(), name); err != nil {
			return err
		}
		err = o.contexts().Change(func(c *contexts.Set) error {
			c.Known[name], c.Current = r, name
			return nil
		})
		if err != nil {
			return err
		}
		return o.print(me, func(w *tabwriter.Writer) {
			row(w, fmt.Sprintf("Signed in to %s as %s. The context %q is the current one.", server, me.Name, name))
		})
	}
	return cmd
}

// endReplaced ends the session that a context holds which is about to be replaced:
// nobody would have its credential any more.
func (o *options) endReplaced(ctx context.Context, name string) error {
	set, err := o.contexts().Read()
	if err != nil {
		return err
	}
	old, known := set.Known[name]
	if !known {
		return nil
	}
	what := "the key of context %q is not kept here any more"
	if old.IsSession() {
		what = "the session of context %q is ended"
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := o.signOut(ctx, name, old); err != nil {
			what = "the session of context %q could not be ended: do that on your account's page"
		}
	}
	_, _ = fmt.Fprintf(o.env.Err, "corp: "+what+"; \"corp login --context NAME\" keeps both\n", name)
	return nil
}

// signOut ends a context's session. One that is over already is what was wanted.
func (o *options) signOut(ctx context.Context, name string, r contexts.Context) error {
	c := client.New(r.Server, "", o.clientOptionsOf(o.contexts().Session(name, r, o.clientOptions())))
	if err := c.SignOut(ctx); err != nil && corp.KindOf(err) != corp.KindUnauthenticated {
		return err
	}
	return nil
}

// loginServer is the one that is named, or this machine's own.
func (o *options) loginServer(args []string) (string, error) {
	server := o.Server
	if len(args) == 1 {
		server = args[0]
	}
	if server == "" {
		server = o.env.Getenv("CORP_SERVER")
	}
	if server == "" {
		if l, err := readLocal(o.dataFolder()); err == nil {
			server = l.Server
		}
	}
	if server == "" {
		return "", usageError{corp.Invalid("server", "It is not said which server to sign in to.", "Name it: corp login https://corp.example.com")}
	}
	if u, err := url.Parse(server); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return "", usageError{corp.Invalid("server", fmt.Sprintf("%q is not the address of a server.", server), "Write it like https://corp.example.com.")}
	}
	return strings.TrimRight(server, "/"), nil
}

func contextName(server string) string {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" {
		return server
	}
	return u.Host
}

func (o *options) keyLogin(server string) (contexts.Context, error) {
	key := o.Key
	if key == "-" {
		line, err := bufio.NewReader(o.env.In).ReadString('\n')
		if key = strings.TrimSpace(line); key == "" {
			return contexts.Context{}, usageError{&corp.Error{Kind: corp.KindInvalid, Field: "key", Message: "There is no key on standard input.", Hint: "Write it there on one line.", Err: err}}
		}
	}
	if prefix, whole := corp.SecretPrefix(key); prefix == "" || !whole {
		return contexts.Context{}, usageError{corp.Invalid("key", "That is not a key, or not a whole one.", "Copy it as it was shown.")}
	}
	return contexts.Context{Server: server, Key: key}, nil
}

// deviceLogin waits until a person has said yes in a browser.
func (o *options) deviceLogin(ctx context.Context, server string, browser bool) (contexts.Context, error) {
	c, err := contexts.SignIn(ctx, server, o.clientOptions(), func(page, code string) {
		_, _ = fmt.Fprintf(o.env.Err, "Open %s\nand say yes if the code is %s\n", page, code)
		if !browser {
			return
		}
		if err := openBrowser(ctx, page); err != nil {
			_, _ = fmt.Fprintln(o.env.Err, "The browser did not open: "+err.Error())
		}
	})
	if err != nil && ctx.Err() != nil {
		err = codeError(exitCancelled)
	}
	return c, err
}

func openBrowser(ctx context.Context, page string) error {
	program := "xdg-open"
	if runtime.GOOS == "darwin" {
		program = "open"
	}
	return exec.CommandContext(ctx, program, page).Run()
}

func newLogout(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Sign out of the current context, or that of --context, and forget it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, r, err := o.chosenContext()
			if err != nil {
				return err
			}
			if name == "" {
				return corp.Conflict("You are signed in nowhere.", "\"corp login\" signs in.")
			}
			if r.IsSession() {
				if err := o.signOut(cmd.Context(), name, r); err != nil {
					return err
				}
			}
			if err := o.contexts().Change(func(c *contexts.Set) error { return c.Drop(name) }); err != nil {
				return err
			}
			return o.print(map[string]string{"context": name}, func(w *tabwriter.Writer) { row(w, "Signed out of "+r.Server+".") })
		},
	}
}
