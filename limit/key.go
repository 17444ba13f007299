package limit

import (
	"net/netip"

	"github.com/genericcorp/corp"
)

// The keys of limits are built here and nowhere else. What stands in braces decides
// where in a Redis Cluster a key lies: all that a request asks at once must lie
// together, so it is the workspace's, or the address's.

// pauses is before the keys of failures in every store: a limit and a pause of the same
// name are two things, and what is kept of one means nothing to the other.
const pauses = "pause:"

// AddressKey is the key of what (a class of requests) from an address. An IPv6
// address counts as its /64, of which one customer has all.
func AddressKey(address netip.Addr, what string) string {
	return "{" + block(address, 32) + "}:" + what
}

// NetworkKey is AddressKey for the neighbourhood of an address: its /24 or /64.
func NetworkKey(address netip.Addr, what string) string {
	return "{" + block(address, 24) + "}:" + what
}

// SiteKey is NetworkKey for all that one customer may have of an IPv6 address, its /48;
// "" for an IPv4 address, of which nobody has more than the network.
func SiteKey(address netip.Addr, what string) string {
	if address = address.Unmap().WithZone(""); !address.Is6() {
		return ""
	}
	p, _ := address.Prefix(48) // the number fits
	return "{" + p.String() + "}:" + what
}

func block(address netip.Addr, bits int) string {
	address = address.Unmap().WithZone("")
	if !address.IsValid() {
		return "nowhere"
	}
	if address.Is6() {
		bits = 64
	}
	p, _ := address.Prefix(bits) // the numbers fit
	return p.String()
}

// WorkspaceKey is the key of one dimension of a workspace, such as "user", and of
// one thing in it, such as the user's id; "" when there is but one.
func WorkspaceKey(ws corp.WorkspaceID, dimension, of string) string {
	key := "{" + ws.String() + "}:" + dimension
	if of != "" {
		key += ":" + of
	}
	return key
}
