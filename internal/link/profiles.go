package link

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	ms   = time.Millisecond
	mbit = 1_000_000
)

// symmetric returns a profile that is the same in both directions.
func symmetric(name, about string, p Params) Profile {
	return Profile{Name: name, About: about, AB: p, BA: p}
}

// profiles lists the links that have names.
var profiles = []Profile{
	symmetric("clean", "a good link between cities: 100 Mbit/s, 30 ms, no loss",
		Params{Rate: 100 * mbit, Delay: 15 * ms}),
	symmetric("lan", "the next rack: 1 Gbit/s, 1 ms, no loss",
		Params{Rate: 1000 * mbit, Delay: ms / 2}),
	symmetric("gig", "a good long fibre: 1 Gbit/s, 40 ms, no loss",
		Params{Rate: 1000 * mbit, Delay: 20 * ms}),
	symmetric("qa-vpn", "a usual company VPN: 100 Mbit/s, 30 ms, 1.5 % loss, some reordering",
		Params{Rate: 100 * mbit, Delay: 15 * ms, Jitter: 2 * ms, Loss: .015, Reorder: .02, ReorderBy: 5 * ms}),
	symmetric("bad-vpn", "an overloaded VPN: 100 Mbit/s, 60 ms, 8 % loss in bursts of 4",
		Params{Rate: 100 * mbit, Delay: 30 * ms, Jitter: 5 * ms, Burst: .08, BurstLen: 4, Reorder: .02, ReorderBy: 5 * ms}),
	symmetric("awful", "worse than you should have to bear: 50 Mbit/s, 150 ms, 10 % loss, jitter, reordering",
		Params{Rate: 50 * mbit, Delay: 75 * ms, Jitter: 20 * ms, Loss: .04, Burst: .06, BurstLen: 4, Reorder: .05, ReorderBy: 20 * ms,
			Duplicate: .001, Corrupt: .001}),
	symmetric("intercontinental", "half around the world: 200 Mbit/s, 250 ms, 0.5 % loss",
		Params{Rate: 200 * mbit, Delay: 125 * ms, Loss: .005}),
	symmetric("lossy-1", "for sweeps: 100 Mbit/s, 40 ms, 1 % random loss", lossy(.01)),
	symmetric("lossy-5", "for sweeps: 100 Mbit/s, 40 ms, 5 % random loss", lossy(.05)),
	symmetric("lossy-10", "for sweeps: 100 Mbit/s, 40 ms, 10 % random loss", lossy(.1)),
	symmetric("lossy-15", "for sweeps: 100 Mbit/s, 40 ms, 15 % random loss", lossy(.15)),
	symmetric("bufferbloat", "a full home router: 20 Mbit/s, 30 ms, a queue of 1 s",
		Params{Rate: 20 * mbit, Delay: 15 * ms, QueueTime: time.Second}),
	{
		Name: "satellite", About: "geostationary: 50 Mbit/s down to b, 5 Mbit/s up, 600 ms, 0.5 % loss",
		AB: Params{Rate: 50 * mbit, Delay: 300 * ms, Jitter: 10 * ms, Loss: .005, QueueTime: 200 * ms},
		BA: Params{Rate: 5 * mbit, Delay: 300 * ms, Jitter: 10 * ms, Loss: .005, QueueTime: 200 * ms},
	},
	{
		Name: "mobile", About: "a moving phone: 30 Mbit/s down to b, 10 Mbit/s up, 60 ms, jitter 40 ms, 0.5 % loss",
		AB: Params{Rate: 30 * mbit, Delay: 30 * ms, Jitter: 40 * ms, Loss: .005, QueueTime: 300 * ms},
		BA: Params{Rate: 10 * mbit, Delay: 30 * ms, Jitter: 40 * ms, Loss: .005, QueueTime: 300 * ms},
	},
	symmetric("mtu-hole", "a tunnel that swallows long packets: 100 Mbit/s, 30 ms, nothing over 1400 bytes arrives",
		Params{Rate: 100 * mbit, Delay: 15 * ms, MTUHole: 1400}),
	symmetric("udp-policed", "a firewall that mistrusts UDP: 100 Mbit/s, 30 ms, UDP policed to 10 Mbit/s",
		Params{Rate: 100 * mbit, Delay: 15 * ms, UDPRate: 10 * mbit}),
	symmetric("udp-blocked", "a firewall without UDP: 100 Mbit/s, 30 ms, 1 % loss, UDP dropped",
		Params{Rate: 100 * mbit, Delay: 15 * ms, Loss: .01, UDPBlock: true}),
	{
		Name: "forgetful", About: "a NAT with a short memory: 100 Mbit/s, 30 ms, every flow dies silently after 10 s",
		AB:      Params{Rate: 100 * mbit, Delay: 15 * ms},
		BA:      Params{Rate: 100 * mbit, Delay: 15 * ms},
		FlowAge: 10 * time.Second,
	},
}

func lossy(p float64) Params { return Params{Rate: 100 * mbit, Delay: 20 * ms, Loss: p} }

// Profiles returns the links that have names, in the order to list them.
func Profiles() []Profile {
	all := slices.Clone(profiles)
	for i := range all {
		all[i] = all[i].Clone()
	}
	return all
}

// Find returns the link of that name.
func Find(name string) (Profile, error) {
	for _, p := range profiles {
		if p.Name == name {
			return p.Clone(), nil
		}
	}
	names := make([]string, len(profiles))
	for i := range profiles {
		names[i] = profiles[i].Name
	}
	return Profile{}, fmt.Errorf("no profile %s; there are %s", quote(name), strings.Join(names, ", "))
}
