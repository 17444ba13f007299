package outbound

import (
	"net/netip"
	"net/url"
	"strings"
)

// CheckURL refuses a URL whose text alone shows that it could never be reached:
// a forbidden address in whatever spelling, this machine's name, plain text to a
// place that is not listed. It asks nobody; what a name means is checked when it
// is dialled. The error is invalid and names field.
func (p Policy) CheckURL(field, text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return refused(field, "That is not a URL.")
	}
	return p.checkURL(field, u)
}

func (p Policy) checkURL(field string, u *url.URL) error {
	host := u.Hostname()
	if err := p.checkHost(field, host); err != nil {
		return err
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return p.checkLiteral(field, a, p.listsHost(host), plainScheme(u.Scheme))
	}
	if plainScheme(u.Scheme) && !p.AllowPrivate && !p.listsHost(host) && len(p.Private) == 0 {
		return refused(field, "Without https, what is sent can be read on its way, so only listed addresses are called like that.")
	}
	return nil
}

func plainScheme(scheme string) bool { return scheme == "http" || scheme == "git" }

// checkHost refuses host names that no name server should be asked about, and
// addresses with a zone: that may be any text, and whoever passes the host on would
// pass the text on.
func (p Policy) checkHost(field, host string) error {
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" {
			return refused(field, "The address of a host names a network card of this machine.")
		}
		return nil
	}
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	switch {
	case !plainHost(name):
		return refused(field, "The address names no host, or not in plain letters.")
	case numeric(name):
		return refused(field, "The address of a host is written in an unusual way.")
	case p.AllowPrivate || p.listsHost(name):
		return nil
	case name == "localhost" || strings.HasSuffix(name, ".localhost") || name == "metadata" || name == "metadata.google.internal":
		return refused(field, "The address is one of the server's own machine or network.")
	}
	return nil
}

func (p Policy) checkLiteral(field string, a netip.Addr, listed, plain bool) error {
	if p.allows(a, listed, plain) {
		return nil
	}
	if p.allows(a, listed, false) {
		return refused(field, "Without https, what is sent can be read on its way, so only listed addresses are called like that.")
	}
	return refused(field, "The address is in a network that is not reached from here.")
}

// plainHost says whether a text can be a host's name: letters, digits, dots,
// dashes and underscores, so that no program reads anything else into it.
func plainHost(host string) bool {
	if host == "" || len(host) > 253 || host[0] == '-' || host[0] == '.' || strings.Contains(host, "..") {
		return false
	}
	return strings.IndexFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	}) < 0
}

// numeric says whether a host that is not an address in its usual spelling is one
// for some parsers: decimal, octal, hexadecimal or short. No name ends in a number.
func numeric(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(strings.ToLower(last), "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}
