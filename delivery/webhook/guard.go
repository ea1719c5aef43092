package webhook

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// guard decides which addresses may be connected to, after the name was resolved. It is asked for
// every connection, so a name that changes its address gains nothing.
type guard struct {
	allowed networks
	// only says that nothing but allowed is let through: where the traffic is not encrypted.
	only   bool
	public *ssrf.Guardian
}

// networks are a profile's allow_networks.
type networks struct {
	keywords []netip.Prefix // loopback, private
	explicit []netip.Prefix // written as CIDR or address
}

// metadata are services that hand out credentials of the machine. Only naming them, or their range,
// in allow_networks opens them; private does not.
func isMetadata(addr netip.Addr) bool {
	switch addr.String() {
	case "169.254.169.254", // AWS, Azure, Google, and most others
		"169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", // AWS
		"fd20:ce::254",    // Google
		"100.100.100.200", // Alibaba
		"168.63.129.16":   // Azure, a public address
		return true
	}
	return false
}

func newGuard(allowed networks, only bool) *guard {
	return &guard{allowed: allowed, only: only, public: ssrf.New(ssrf.WithAnyPort())}
}

// String is equal for guards that decide alike.
func (g *guard) String() string {
	return fmt.Sprint(g.only, g.allowed.keywords, g.allowed.explicit)
}

// control refuses a connection before it is made. It is a net.Dialer's ControlContext.
func (g *guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return fmt.Errorf("network %s is not TCP", network)
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %q cannot be read", address)
	}
	return g.check(at.Addr())
}

// check returns a guardError unless the address may be connected to.
func (g *guard) check(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	switch {
	case contains(g.allowed.explicit, addr):
		return nil
	case isMetadata(addr):
		return &guardError{addr, "a metadata service"}
	case contains(g.allowed.keywords, addr):
		return nil
	case g.public.SafeAddr(addr) != nil:
		return &guardError{addr, kindOf(addr)}
	case g.only:
		return &guardError{addr, "a public address, where only https goes"}
	}
	return nil
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// kindOf says in a word why an address is not public.
func kindOf(addr netip.Addr) string {
	switch {
	case addr.IsLoopback():
		return "loopback"
	case addr.IsPrivate():
		return "private"
	case addr.IsLinkLocalUnicast():
		return "link-local"
	case addr.IsMulticast():
		return "multicast"
	}
	return "not a public address"
}

// guardError says that an address may not be connected to.
type guardError struct {
	addr netip.Addr
	kind string
}

func (e *guardError) Error() string { return fmt.Sprintf("%s is %s", e.addr, e.kind) }

// add reads one item of allow_networks.
func (n *networks) add(item string) bool {
	switch item {
	case "loopback":
		n.keywords = append(n.keywords, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
		return true
	case "private":
		n.keywords = append(n.keywords, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
			netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fc00::/7"))
		return true
	}
	if addr, err := netip.ParseAddr(item); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		n.explicit = append(n.explicit, netip.PrefixFrom(addr, addr.BitLen()))
		return true
	}
	prefix, err := netip.ParsePrefix(item)
	if err != nil || prefix.Addr().Is4In6() {
		return false
	}
	n.explicit = append(n.explicit, prefix.Masked())
	return true
}

func (n *networks) empty() bool { return len(n.keywords)+len(n.explicit) == 0 }
