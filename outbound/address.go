package outbound

import "net/netip"

// class is what kind of address one is, as far as reaching it matters.
type class int

const (
	public  class = iota
	private       // reached if the policy allows it
	never         // reached under no policy
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// The special addresses of IANA's two registries, and where clouds answer machines
// about themselves. The first table that holds an address decides.
var (
	neverReached = prefixes(
		"0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", // "this" network, link-local, multicast, reserved and broadcast
		"::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", // hide an IPv4 address: compatible, translated, local NAT64, Teredo, 6to4
		"100::/64", "5f00::/16", "fe80::/10", "ff00::/8", // discard, segment routing, link-local, multicast
		"100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", // metadata and platform services of clouds
		"fd00:ec2::/32", "fd20:ce::/32", "fd00:42::42/128",
	)
	privateNetworks = prefixes(
		"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", // this machine, private, shared
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", // protocols, documentation, old relays, benchmarks
		"fc00::/7", "fec0::/10", "2001::/23", "2001:db8::/32", "3fff::/20",
	)
	loopback6 = netip.IPv6Loopback()
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
)

// inside returns the address that is reached through a, which is another one for
// IPv4 in IPv6, and its class. A zone is looked at first, as it would be dropped.
func inside(a netip.Addr) (netip.Addr, class) {
	if a.Zone() != "" {
		return a, never
	}
	a = a.Unmap()
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	return a, classify(a)
}

func classify(a netip.Addr) class {
	if !a.IsValid() {
		return never
	}
	if a == loopback6 {
		return private
	}
	for _, n := range neverReached {
		if n.Contains(a) {
			return never
		}
	}
	for _, n := range privateNetworks {
		if n.Contains(a) {
			return private
		}
	}
	return public
}
