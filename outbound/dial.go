package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/genericcorp/corp"
)

const (
	dialTime  = 10 * time.Second
	keepAlive = 30 * time.Second
)

// Dial connects to HOST:PORT over TCP if the policy allows the address that the
// name means now. What is sent must be encrypted; DialPlain is for what is not.
func (p Policy) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return p.dial(ctx, network, address, false)
}

// DialPlain is Dial for a protocol without encryption, which goes only to where
// the policy allows private addresses.
func (p Policy) DialPlain(ctx context.Context, network, address string) (net.Conn, error) {
	return p.dial(ctx, network, address, true)
}

func (p Policy) dial(ctx context.Context, network, address string, plain bool) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", address, err)
	}
	if err := p.checkHost("", host); err != nil {
		return nil, err
	}
	listed := p.listsHost(host)
	d := net.Dialer{Timeout: dialTime, KeepAlive: keepAlive, Resolver: p.Resolver, Control: func(network, address string, _ syscall.RawConn) error {
		return p.control(network, address, listed, plain)
	}}
	conn, err := d.DialContext(ctx, network, address)
	if known, ok := errors.AsType[*corp.Error](err); ok {
		return nil, known // without the address around it: whoever chose the name would learn what it means in here
	}
	return conn, err
}

// control is asked with the address that is about to be connected to, after the
// name was resolved: what is allowed here is what is reached.
func (p Policy) control(network, address string, listed, plain bool) error {
	if network != "tcp4" && network != "tcp6" {
		return refused("", "Only TCP goes out.")
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return &corp.Error{Kind: corp.KindInternal, Message: "The dialled address could not be read.", Err: err}
	}
	if p.allows(to.Addr(), listed, plain) {
		return nil
	}
	if plain && p.allows(to.Addr(), listed, false) {
		return refused("", "Without https, what is sent can be read on its way, so only listed addresses are called like that.")
	}
	return refused("", "The host has an address in a network that is not reached from here.")
}

// Resolve returns the first of the addresses that host means now which the policy
// allows, for a program that is then told to connect to that address and no other.
// plain says that what it will send is not encrypted.
func (p Policy) Resolve(ctx context.Context, host string, plain bool) (netip.Addr, error) {
	if err := p.checkHost("", host); err != nil {
		return netip.Addr{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	resolver := p.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	found, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("look up host: %w", err)
	}
	var refusal error
	for _, a := range found {
		if refusal = p.control("tcp4", netip.AddrPortFrom(a, 1).String(), p.listsHost(host), plain); refusal == nil {
			return a.Unmap(), nil
		}
	}
	return netip.Addr{}, refusal
}
