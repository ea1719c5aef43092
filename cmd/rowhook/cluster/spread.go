package cluster

import (
	"cmp"
	"maps"
	"slices"
)

// spread says which machine is wanted as the owner of each profile. It depends on its arguments
// alone, so that machines that see the same agree. The machines' numbers of profiles differ by one
// at most. A profile stays where it is while its owner lives and has not too many.
func spread(machines, profiles []string, owners map[string]string) map[string]string {
	wanted := make(map[string]string, len(profiles))
	if len(machines) == 0 {
		return wanted
	}
	machines, profiles = slices.Sorted(slices.Values(machines)), slices.Sorted(slices.Values(profiles))
	has := make(map[string][]string, len(machines))
	var free []string
	for _, profile := range profiles {
		owner := owners[profile]
		if _, alive := slices.BinarySearch(machines, owner); alive {
			has[owner] = append(has[owner], profile)
		} else {
			free = append(free, profile)
		}
	}
	// Those that have most may have one more than the others, so that few profiles move.
	byNumber := slices.Clone(machines)
	slices.SortStableFunc(byNumber, func(a, b string) int { return cmp.Compare(len(has[b]), len(has[a])) })
	quota := make(map[string]int, len(machines))
	for i, machine := range byNumber {
		quota[machine] = len(profiles) / len(machines)
		if i < len(profiles)%len(machines) {
			quota[machine]++
		}
		if over := len(has[machine]) - quota[machine]; over > 0 {
			free = append(free, has[machine][quota[machine]:]...)
			has[machine] = has[machine][:quota[machine]]
		}
	}
	slices.Sort(free)
	for _, machine := range machines {
		for len(has[machine]) < quota[machine] {
			has[machine] = append(has[machine], free[0])
			free = free[1:]
		}
	}
	for machine, profiles := range maps.All(has) {
		for _, profile := range profiles {
			wanted[profile] = machine
		}
	}
	return wanted
}
