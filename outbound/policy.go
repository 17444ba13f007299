// Package outbound is the one way out to addresses that somebody else chose:
// vendors, repositories, identity providers. A Policy says which addresses may be
// reached; what is built from it (dialler, transport, client, proxy for git)
// checks the address that is really dialled, so that neither a name that changes
// its meaning nor a redirect leads elsewhere.
//
// It refuses link-local and metadata addresses whatever the policy says, private
// ones unless they are allowed, plain text to anything else, redirects to another
// origin, and to take a proxy from the environment. What the operator configured
// for the installation itself does not need it.
package outbound

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/genericcorp/corp"
)

// CodeRefused is the code of the errors that an address is not allowed.
const CodeRefused = "address_refused"

// Policy says what may be reached. The zero Policy is closed: public addresses
// over TLS, and nothing else.
type Policy struct {
	AllowPrivate bool           // all private networks and this machine's own addresses, as on a laptop
	Private      []netip.Prefix // those of them that may be reached, unless all may
	Hosts        []string       // names whose private addresses may be reached
	Resolver     *net.Resolver  // nil is the system's
}

// All on a list of private networks means all of them.
const All = "all"

// List returns the words that ParsePrivate makes the same policy of.
func (p Policy) List() []string {
	if p.AllowPrivate {
		return []string{All}
	}
	list := slices.Clone(p.Hosts)
	for _, n := range p.Private {
		list = append(list, n.String())
	}
	return list
}

// ParsePrivate reads a list of networks (10.0.0.0/8), addresses and host names, or
// All, into the policy. An error names field.
func (p *Policy) ParsePrivate(field string, list []string) error {
	for _, item := range list {
		item = strings.ToLower(strings.TrimSpace(item))
		prefix, err := netip.ParsePrefix(item)
		if addr, alone := netip.ParseAddr(item); err != nil && alone == nil {
			prefix, err = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
		}
		switch {
		case item == All:
			p.AllowPrivate = true
		case err == nil && classify(prefix.Addr()) == never:
			return corp.Invalid(field, fmt.Sprintf("%q is never reached, whatever is listed.", item), "Link-local and metadata addresses cannot be allowed; leave it out.")
		case err == nil:
			p.Private = append(p.Private, prefix.Masked())
		case plainHost(item) && !numeric(item):
			p.Hosts = append(p.Hosts, strings.TrimSuffix(item, "."))
		default:
			return corp.Invalid(field, fmt.Sprintf("%q is neither a network nor a host.", item), "Write 10.0.0.0/8, 192.168.1.7 or git.example.com.")
		}
	}
	return nil
}

// Allows says whether the address may be reached when nothing is known of its name.
func (p Policy) Allows(a netip.Addr) bool { return p.allows(a, false, false) }

// allows decides. listed says that the host's name is on the list, plain that what
// will be sent is not encrypted.
func (p Policy) allows(a netip.Addr, listed, plain bool) bool {
	a, c := inside(a)
	switch c {
	case never:
		return false
	case public:
		return !plain || listed || p.AllowPrivate || p.lists(a)
	default:
		return listed || p.AllowPrivate || p.lists(a)
	}
}

func (p Policy) lists(a netip.Addr) bool {
	return slices.ContainsFunc(p.Private, func(n netip.Prefix) bool { return n.Contains(a) })
}

func (p Policy) listsHost(host string) bool {
	return slices.Contains(p.Hosts, strings.TrimSuffix(strings.ToLower(host), "."))
}

// refused is the error of an address that may not be reached.
func refused(field, message string) *corp.Error {
	return &corp.Error{
		Kind: corp.KindInvalid, Code: CodeRefused, Field: field, Message: message,
		Hint: "Use a public address with https; one inside the operator's network must be listed by the operator with --allow-private.",
	}
}
