package contexts

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// SignIn waits until a person has said yes in a browser (RFC 8628). Show is told the
// page to open and the code on it. It returns what the server says when the person
// said no, or nothing in time.
func SignIn(ctx context.Context, server string, opts client.Options, show func(page, code string)) (Context, error) {
	c := client.New(server, "", opts)
	d, err := c.BeginDevice(ctx)
	if err != nil {
		return Context{}, err
	}
	page, err := pageOf(d)
	if err != nil {
		return Context{}, err
	}
	show(page, d.Code)
	every := time.Duration(max(d.Interval, 1)) * time.Second
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return Context{}, ctx.Err()
		case <-timer.C:
		}
		in, err := c.TakeDevice(ctx, d.Device)
		if err == nil {
			return Context{Server: server}.with(in.Access, in.ExpiresIn, in.Refresh), nil
		}
		e, known := errors.AsType[*corp.Error](err)
		switch {
		case known && e.Code == "slow_down":
			every += 5 * time.Second
		case known && (e.Code == "authorization_pending" || e.Kind == corp.KindUnavailable):
		default:
			return Context{}, err
		}
		timer.Reset(every)
	}
}

// code is what a code looks like, and nothing that a terminal takes for more.
var code = regexp.MustCompile(`^[A-Z]{4}-[A-Z]{4}$`)

// pageOf is what to open. The server chose it, and whoever opens addresses here may do
// with one of another kind what it says: start a program, show a file.
func pageOf(d client.NewDevice) (string, error) {
	u, err := url.Parse(d.Page)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || !code.MatchString(d.Code) {
		return "", &corp.Error{Kind: corp.KindUnavailable, Message: "The server's answer names no page to sign in at.", Hint: "Is that a server of Generic Corp? Sign in with a key: corp login --key -", Err: err}
	}
	u.RawQuery = url.Values{"code": {d.Code}}.Encode()
	return u.String(), nil
}
