package cluster

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestSpread holds for any machines, profiles and owners: all profiles have a machine, the numbers
// differ by one at most, nothing moves once that is so, and no more moves than must.
func TestSpread(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		machines := names("m", rapid.IntRange(1, 6).Draw(t, "machines"))
		profiles := names("p", rapid.IntRange(0, 20).Draw(t, "profiles"))
		owners := map[string]string{}
		for _, profile := range profiles {
			owners[profile] = rapid.SampledFrom(append(names("m", 8), "")).Draw(t, "owner")
		}
		wanted := spread(machines, profiles, owners)
		counts := map[string]int{}
		for _, machine := range machines {
			counts[machine] = 0
		}
		moved := 0
		for _, profile := range profiles {
			if !slices.Contains(machines, wanted[profile]) {
				t.Fatalf("%s goes to %q", profile, wanted[profile])
			}
			counts[wanted[profile]]++
			if wanted[profile] != owners[profile] && slices.Contains(machines, owners[profile]) {
				moved++
			}
		}
		numbers := slices.Collect(maps.Values(counts))
		if slices.Max(numbers)-slices.Min(numbers) > 1 {
			t.Fatalf("numbers of profiles: %v", counts)
		}
		if again := spread(machines, profiles, wanted); !maps.Equal(again, wanted) {
			t.Fatalf("spread again: %v, was %v", again, wanted)
		}
		// What a machine has above its fair share, rounded up, must go; one more each may have to.
		must := 0
		for _, machine := range machines {
			has := 0
			for _, profile := range profiles {
				if owners[profile] == machine {
					has++
				}
			}
			must += max(0, has-len(profiles)/len(machines))
		}
		if moved > must {
			t.Fatalf("%d profiles moved from machines that live, %d had to at most", moved, must)
		}
	})
}

// TestSpreadOfNobody: without a machine nothing is wanted.
func TestSpreadOfNobody(t *testing.T) {
	t.Parallel()
	if wanted := spread(nil, names("p", 3), nil); len(wanted) != 0 {
		t.Errorf("wanted %v", wanted)
	}
}

func names(prefix string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(prefix, i))
	}
	return list
}
