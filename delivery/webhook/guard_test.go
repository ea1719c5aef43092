package webhook

import (
	"context"
	"net/netip"
	"testing"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	const (
		public = "93.184.216.34"
		six    = "2606:2800:220:1:248:1893:25c8:1946"
	)
	special := []string{
		"127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "10.0.0.1", "172.16.0.1", "172.31.255.255",
		"192.168.1.1", "::ffff:10.0.0.1", "fc00::1", "fd12:3456::1", "169.254.1.1", "169.254.169.254", "::ffff:169.254.169.254",
		"fe80::1", "fe80::1%eth0", "100.64.0.1", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "192.0.2.1", "198.18.0.1", "198.51.100.1",
		"203.0.113.7", "224.0.0.1", "239.255.255.255", "ff02::1", "240.0.0.1", "255.255.255.255", "64:ff9b::7f00:1",
		"64:ff9b:1::a00:1", "2001:db8::1", "2001::1", "2002:7f00:1::", "fec0::1", "::127.0.0.1", "192.0.0.192", "3fff::1",
	}
	for _, test := range []struct {
		name  string
		allow []string
		only  bool
		open  []string
		shut  []string
	}{
		{"nothing allowed", nil, false, []string{public, six, "172.32.0.1", "172.15.0.1", "100.128.0.1"}, special},
		{"loopback", []string{"loopback"}, false, []string{public, "127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"},
			[]string{"10.0.0.1", "0.0.0.0", "169.254.169.254", "::127.0.0.1"}},
		{"private", []string{"private"}, false, []string{"10.0.0.1", "172.16.9.9", "192.168.0.1", "fd12::1", "::ffff:10.0.0.1"},
			[]string{"127.0.0.1", "169.254.169.254", "fd00:ec2::254", "100.64.0.1", "fe80::1"}},
		{"a range", []string{"10.20.0.0/16", "100.64.0.0/10"}, false, []string{"10.20.3.4", "100.64.1.1"},
			[]string{"10.21.0.1", "127.0.0.1", "fd00:ec2::254"}},
		{"a range with host bits", []string{"10.20.3.4/16"}, false, []string{"10.20.200.1"}, []string{"10.21.0.1"}},
		{"one address", []string{"169.254.169.254", "fe80::1"}, false, []string{"169.254.169.254", "fe80::1%eth0"}, []string{"169.254.169.253", "fe80::2"}},
		{"http", []string{"private"}, true, []string{"10.0.0.1"}, []string{public, six, "127.0.0.1", "fd00:ec2::254"}},
		{"http to a public address", []string{public}, true, []string{public}, []string{six, "10.0.0.1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var n networks
			for _, item := range test.allow {
				if !n.add(item) {
					t.Fatalf("%q refused", item)
				}
			}
			g := newGuard(n, test.only)
			for _, addr := range test.open {
				if err := g.check(netip.MustParseAddr(addr)); err != nil {
					t.Errorf("%s is shut: %v", addr, err)
				}
			}
			for _, addr := range test.shut {
				if g.check(netip.MustParseAddr(addr)) == nil {
					t.Errorf("%s is open", addr)
				}
			}
		})
	}
}

func TestGuardControl(t *testing.T) {
	t.Parallel()
	g := newGuard(networks{}, false)
	for address, ok := range map[string]bool{
		"93.184.216.34:80": true, "93.184.216.34:8443": true, "127.0.0.1:443": false, "[fe80::1%eth0]:443": false, "nonsense": false,
	} {
		if err := g.control(context.Background(), "tcp4", address, nil); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	if g.control(context.Background(), "udp4", "93.184.216.34:80", nil) == nil {
		t.Error("udp passed")
	}
}

func FuzzNetworks(f *testing.F) {
	for _, seed := range []string{"loopback", "private", "10.0.0.0/8", "fe80::1%eth0", "::ffff:10.0.0.0/104", "1.2.3.4"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, item string) {
		var n networks
		if n.add(item) == n.empty() {
			t.Errorf("%q: taken %v", item, !n.empty())
		}
	})
}
