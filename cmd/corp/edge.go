package main

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/api"
	"github.com/genericcorp/corp/mail"
	"github.com/genericcorp/corp/outbound"
)

// edgeSettings are the settings of where requests come in and go out.
type edgeSettings struct {
	PublicURL    string
	AllowPrivate []string
	Domain       string
	Hosts        []string
	Origins      []string
	Proxies      []string
	SMTPURL      string
	MailFrom     string

	outbound outbound.Policy
	in       api.Edge
	mail     *mail.Server // nil without one
}

func (e *edgeSettings) flags(f *pflag.FlagSet) {
	f.StringVar(&e.PublicURL, "public-url", "", "URL under which people reach the installation; without one it is a laptop's: workspaces may name private addresses")
	f.StringSliceVar(&e.AllowPrivate, "allow-private", nil, "private networks, addresses and hosts that workspaces' providers and repositories may be at, or all (default: all without a public URL, else none)")
	f.StringVar(&e.Domain, "domain", "", "workspaces are also at SLUG.app.DOMAIN")
	f.StringSliceVar(&e.Hosts, "hosts", nil, "further host names that the API answers to, besides the public URL's, the advertised one and this machine's own")
	f.StringSliceVar(&e.Origins, "cors-origins", nil, "sites whose pages may call the API, like https://tools.example.com")
	f.StringSliceVar(&e.Proxies, "trusted-proxies", nil, "networks and addresses of proxies whose X-Forwarded-For is believed, like 10.0.0.0/8 or 127.0.0.1")
	f.StringVar(&e.SMTPURL, "smtp-url", "", "mail server: smtps://USER:PASSWORD@HOST or smtp://USER:PASSWORD@HOST:587 with STARTTLS (default: none; \"corp mail\" shows what was written)")
	f.StringVar(&e.MailFrom, "mail-from", "", "address that mail comes from, like \"Generic Corp <corp@example.com>\" (default: corp@ and the public URL's host)")
}

// check reads the texts.
func (e *edgeSettings) check() error {
	e.in, e.outbound = api.Edge{}, outbound.Policy{AllowPrivate: e.PublicURL == "" && len(e.AllowPrivate) == 0}
	if e.PublicURL != "" {
		u, err := url.Parse(strings.TrimSuffix(e.PublicURL, "/"))
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.Path != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return corp.Invalid("public-url", fmt.Sprintf("%q is not the URL of an installation.", e.PublicURL), "Write scheme and host, like https://corp.example.com.")
		}
		e.in.Public = u
	}
	if e.in.Domain = strings.ToLower(strings.Trim(e.Domain, ".")); e.Domain != "" && !plainName(e.in.Domain) {
		return corp.Invalid("domain", fmt.Sprintf("%q is not a domain.", e.Domain), "Write it like example.com, for acme.app.example.com.")
	}
	for _, host := range e.Hosts {
		name := strings.ToLower(strings.Trim(host, ". "))
		if _, err := netip.ParseAddr(name); err != nil && !plainName(name) {
			return corp.Invalid("hosts", fmt.Sprintf("%q is not the name of a host.", host), "Write it without scheme and port, like corp.example.com.")
		}
		e.in.Hosts = append(e.in.Hosts, name)
	}
	for _, origin := range e.Origins {
		u, err := url.Parse(origin)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.Scheme+"://"+strings.ToLower(u.Host) != origin {
			return corp.Invalid("cors-origins", fmt.Sprintf("%q is not the origin of a site.", origin), "Write scheme, host and a port that is not the usual one, like https://tools.example.com; there is no wildcard.")
		}
		e.in.Origins = append(e.in.Origins, origin)
	}
	for _, proxy := range e.Proxies {
		prefix, err := netip.ParsePrefix(proxy)
		if a, alone := netip.ParseAddr(proxy); err != nil && alone == nil {
			prefix, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		if err != nil || prefix.Bits() == 0 {
			return corp.Invalid("trusted-proxies", fmt.Sprintf("%q is not a network that could be trusted.", proxy), "Write it like 10.0.0.0/8 or 127.0.0.1; all the world is none.")
		}
		e.in.Proxies = append(e.in.Proxies, prefix.Masked())
	}
	if err := e.checkMail(); err != nil {
		return err
	}
	return e.outbound.ParsePrivate("allow-private", e.AllowPrivate)
}

func (e *edgeSettings) checkMail() (err error) {
	if e.mail = nil; e.SMTPURL == "" {
		return nil
	}
	from := e.MailFrom
	if from == "" && e.in.Public != nil {
		from = "corp@" + e.in.Public.Hostname()
	}
	e.mail, err = mail.ParseServer(e.SMTPURL, from)
	return err
}

func plainName(host string) bool {
	return host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == ""
}

// edge is what the API needs to know of where requests come in: the settings, and
// how the other servers and this machine call it.
func (s *server) edge() api.Edge {
	in := s.config.Edge.in
	in.Hosts = slices.Clone(in.Hosts)
	if u, err := url.Parse(s.advertised()); err == nil && u.Hostname() != "" {
		in.Hosts = append(in.Hosts, strings.ToLower(u.Hostname()))
	}
	if u, err := url.Parse(s.url()); err == nil && in.Public == nil && u.Hostname() != "" {
		in.Hosts = append(in.Hosts, strings.ToLower(u.Hostname()))
	}
	if name, err := os.Hostname(); err == nil && in.Public == nil {
		in.Hosts = append(in.Hosts, strings.ToLower(name))
	}
	return in
}
