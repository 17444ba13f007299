package gitwork

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/outbound"
)

// theRemote stands for the remote's address in the arguments of talk.
const theRemote = "\x00remote"

// talk runs git on the trusted repository with a remote, which is reached by the
// policy whatever git and the remote make of it.
func (c *Checkout) talk(ctx context.Context, r remote, args ...string) (string, error) {
	w, err := c.reach(ctx, r)
	if err != nil {
		return "", unreachable(err)
	}
	defer w.close()
	config, env := r.environment()
	args = slices.Clone(args)
	for i, a := range args {
		if a == theRemote {
			args[i] = w.url
		}
	}
	out, err := git(ctx, call{
		dir: c.place.Folder.Git(), home: c.place.Folder.Root(), secret: r.credential,
		config: append(append(overNetwork(), config...), w.config...), env: append(append(withoutProxies(c.place.NetworkEnv), env...), w.env...),
	}, append([]string{"--git-dir=" + c.place.Folder.Git()}, args...)...)
	if refused := w.refused(); err != nil && refused != nil {
		return "", unreachable(refused)
	}
	return out, err
}

// way is how git gets to one remote.
type way struct {
	url    string
	config []setting
	env    []string
	proxy  *outbound.Proxy
}

func (w *way) close() {
	if w.proxy != nil {
		w.proxy.Close()
	}
}

func (w *way) refused() error {
	if w.proxy == nil {
		return nil
	}
	return w.proxy.Refused()
}

// reach prepares the way to a remote. http and https go through a proxy of ours,
// which checks each connection, those of redirects too. For ssh and git the name
// is resolved here, and the program is told the address.
func (c *Checkout) reach(ctx context.Context, r remote) (*way, error) {
	scheme, host, port := r.target()
	policy := c.place.Outbound
	switch scheme {
	case "https", "http":
		if err := policy.CheckURL("repository", r.url); err != nil {
			return nil, err
		}
		proxy, err := outbound.ListenProxy(ctx, policy, c.place.NetworkEnv)
		if err != nil {
			return nil, err
		}
		return &way{url: r.url, proxy: proxy, config: []setting{{"http.proxy", proxy.URL()}, {"http.proxyAuthMethod", "basic"}}}, nil
	case "git":
		a, err := policy.Resolve(ctx, host, true)
		if err != nil {
			return nil, err
		}
		u, err := url.Parse(r.url)
		if err != nil {
			return nil, err
		}
		asked := u.Host
		u.Host = hostOf(a, port)
		return &way{url: u.String(), env: []string{"GIT_OVERRIDE_VIRTUAL_HOST=" + asked}}, nil
	default:
		a, err := policy.Resolve(ctx, host, false)
		if err != nil {
			return nil, err
		}
		command, err := sshTo(a, host, port)
		if err != nil {
			return nil, err
		}
		return &way{url: r.url, env: []string{"GIT_SSH_COMMAND=" + command}}, nil
	}
}

// literal is what a shell reads as it stands between single quotes, and ssh as one
// host: every name and address that the policy lets through.
var literal = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)

// sshTo is the command, for a shell, that reaches a host at this address. The
// host's key is looked up by its name, as without all this.
func sshTo(a netip.Addr, host, port string) (string, error) {
	if !literal.MatchString(host) || !literal.MatchString("x"+port) {
		return "", badRepository("The repository's address names no host, or not in plain letters.")
	}
	alias := host
	if port != "" && port != "22" {
		alias = "[" + host + "]:" + port
	}
	return sshCommand + " -oHostName=" + a.String() + " -oHostKeyAlias='" + alias + "'", nil
}

func hostOf(a netip.Addr, port string) string {
	if port != "" {
		return net.JoinHostPort(a.String(), port)
	}
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// target returns what a remote's address says of where it is. The host is in plain
// letters or an address: the policy lets nothing else through.
func (r remote) target() (scheme, host, port string) {
	if scpForm.MatchString(r.url) {
		_, rest, _ := strings.Cut(r.url, "@")
		host, _, _ = strings.Cut(rest, ":")
		return "ssh", host, ""
	}
	u, err := url.Parse(r.url)
	if err != nil {
		return "", "", ""
	}
	return u.Scheme, u.Hostname(), u.Port()
}

// withoutProxies leaves out what would lead git past our proxy.
func withoutProxies(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return outbound.IsProxyVariable(name)
	})
}

// unreachable words why a remote is not reached.
func unreachable(err error) error {
	if known, ok := errors.AsType[*corp.Error](err); ok && known.Code == outbound.CodeRefused {
		return problem(corp.ReasonRepository, corp.KindInvalid, "repository", "The repository's address is not allowed. "+known.Message, known.Hint)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		e := problem(corp.ReasonRepository, corp.KindUnavailable, "repository", "The repository could not be reached: its host's name could not be looked up.", "Check the address, and that the runner may connect to it; the task can be tried again.")
		e.Err = dns
		return e
	}
	return err
}
