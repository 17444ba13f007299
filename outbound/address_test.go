package outbound

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/genericcorp/corp"
)

// Each row: reached by a closed policy, by one that allows private addresses.
// Attack case 50. Control: public addresses, and those just outside of the private ranges, are reached.
func TestAddressesAreReachedByWhatTheyAre(t *testing.T) {
	t.Parallel()
	const no, yes = false, true
	open := Policy{AllowPrivate: true}
	for _, row := range []struct {
		address       string
		closed, allow bool
	}{
		{"93.184.215.14", yes, yes},
		{"8.8.8.8", yes, yes},
		{"2606:4700:4700::1111", yes, yes}, // the positive control
		{"127.0.0.1", no, yes},
		{"127.8.8.8", no, yes},
		{"::1", no, yes},
		{"10.0.0.1", no, yes},
		{"172.16.0.1", no, yes},
		{"172.31.255.255", no, yes},
		{"192.168.1.1", no, yes},
		{"100.64.0.1", no, yes},
		{"fd12:3456::1", no, yes},
		{"fec0::1", no, yes},
		{"192.0.0.8", no, yes},
		{"198.18.0.1", no, yes},
		{"203.0.113.9", no, yes},
		{"2001:db8::1", no, yes},
		{"172.32.0.1", yes, yes},
		{"100.128.0.1", yes, yes},
		{"11.0.0.1", yes, yes}, // just outside
		{"0.0.0.0", no, no},
		{"0.1.2.3", no, no},
		{"::", no, no},
		{"169.254.169.254", no, no},
		{"169.254.0.1", no, no},
		{"fe80::1", no, no},
		{"fe80::1%eth0", no, no},
		{"::1%lo", no, no},
		{"fd00:ec2::254", no, no},
		{"fd20:ce::254", no, no},
		{"100.100.100.200", no, no},
		{"168.63.129.16", no, no},
		{"192.0.0.192", no, no},
		{"224.0.0.1", no, no},
		{"239.255.255.250", no, no},
		{"ff02::1", no, no},
		{"255.255.255.255", no, no},
		{"240.0.0.1", no, no},
		{"::ffff:127.0.0.1", no, yes},
		{"::ffff:10.0.0.1", no, yes},
		{"::ffff:169.254.169.254", no, no},
		{"::ffff:8.8.8.8", yes, yes},
		{"64:ff9b::7f00:1", no, yes},
		{"64:ff9b::a9fe:a9fe", no, no},
		{"64:ff9b::808:808", yes, yes},
		{"64:ff9b:1::7f00:1", no, no},
		{"2002:7f00:1::1", no, no},
		{"2002:a9fe:a9fe::", no, no},
		{"2001:0:7f00:1::", no, no},
		{"::7f00:1", no, no},
		{"::ffff:0:7f00:1", no, no},
		{"100::1", no, no},
		{"fe80::1%eth0", no, no},
		{"2606:4700::1111%x", no, no},
		{"::ffff:8.8.8.8%x", no, no},
	} {
		a := netip.MustParseAddr(row.address)
		if got := (Policy{}).Allows(a); got != row.closed {
			t.Errorf("a closed policy reaches %s: %t, want %t", a, got, row.closed)
		}
		if got := open.Allows(a); got != row.allow {
			t.Errorf("a policy that allows private addresses reaches %s: %t, want %t", a, got, row.allow)
		}
	}
}

func TestOnlyListedNetworksAreReached(t *testing.T) {
	t.Parallel()
	var p Policy
	if err := p.ParsePrivate("allow-private", []string{"10.1.0.0/16", "192.168.7.7", " fd12::/16", "Git.Example.COM"}); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"10.1.2.3": true, "10.2.0.1": false, "192.168.7.7": true, "192.168.7.8": false, "fd12::9": true, "fd13::9": false,
		"::ffff:10.1.2.3": true, "127.0.0.1": false, "169.254.169.254": false,
	} {
		if got := p.Allows(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is reached: %t, want %t", address, got, want)
		}
	}
	if !p.listsHost("git.example.com.") || p.listsHost("evil.git.example.com") {
		t.Error("a listed host is matched as a whole, in any case")
	}
	for _, bad := range []string{"169.254.0.0/16", "169.254.169.254", "fe80::/10", "0.0.0.0/0", "::/0", "fd00:ec2::254", "", "10.0.0.0/33", "a b", "-x", "2130706433", "*.example.com", "http://10.0.0.1"} {
		err := new(Policy).ParsePrivate("allow-private", []string{bad})
		if e, ok := errors.AsType[*corp.Error](err); !ok || e.Field != "allow-private" || e.Hint == "" {
			t.Errorf("%q on the list: %v, want an error that names the setting", bad, err)
		}
	}
}

// Attack case 50. Control: ordinary addresses pass.
func TestAURLThatCanNeverBeReachedIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for _, u := range []string{
		"https://127.0.0.1/", "https://localhost/", "https://LOCALHOST./", "https://x.localhost/", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]:8443/",
		"https://2130706433/", "https://0x7f000001/", "https://017700000001/", "https://0177.0.0.1/", "https://127.1/", "https://127.0.1/", "https://0x7f.0.0.1/", "https://127.0.0.1./", "https://127.0.0.0x1/",
		"https://0/", "https://0.0.0.0/", "https://169.254.169.254/latest/meta-data/", "https://metadata.google.internal/", "https://[fe80::1%25eth0]/", "https://[fd00:ec2::254]/",
		"https://[::ffff:8.8.8.8%25x]/", "ssh://git@[::ffff:8.8.8.8%25';id;']/x.git", "ssh://git@[2606:4700::1111%25$(id)]/x.git",
		"https://10.0.0.1/", "https://192.168.0.1/", "https://[64:ff9b::7f00:1]/", "https://１２７.0.0.1/", "https://127。0。0。1/", "https://ex$(id).com/", "https://a;b/", "https://-oProxyCommand/",
		"https:///x", "https://..", "http://8.8.8.8/", "http://example.com/", "git://example.com/x", "https://user@169.254.169.254/", "https://example.com@127.0.0.1/",
	} {
		err := Policy{}.CheckURL("base_url", u)
		if e, ok := errors.AsType[*corp.Error](err); !ok || e.Field != "base_url" || e.Code != CodeRefused || e.Hint == "" {
			t.Errorf("%s: %v, want a refusal that names the field", u, err)
		}
	}
	for _, u := range []string{"https://api.example.com/v1", "https://8.8.8.8:8443/", "ssh://git@example.com/x.git", "https://xn--bcher-kva.example/", "https://a_b.example.com./"} {
		if err := (Policy{}).CheckURL("base_url", u); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	laptop := Policy{AllowPrivate: true}
	for u, want := range map[string]bool{
		"http://127.0.0.1:11434/v1": true, "http://localhost:11434": true, "http://example.com": true, "http://10.0.0.1": true,
		"http://169.254.169.254/": false, "http://2852039166/": false, "http://0.0.0.0:1/": false, "https://[fe80::1%25eth0]/": false, "ssh://git@[::ffff:127.0.0.1%25';id;']/x.git": false,
	} {
		if err := laptop.CheckURL("base_url", u); (err == nil) != want {
			t.Errorf("on a laptop %s: %v, want allowed %t", u, err, want)
		}
	}
}
