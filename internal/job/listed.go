package job

import (
	"maps"
	"slices"

	"github.com/ropeway/ropeway/internal/filter"
)

// unlisted returns what a list of paths asked for and the tree does not have,
// sorted. What a rule hides was not asked for.
func unlisted(set *filter.Set, missing map[string]struct{}) []string {
	for p := range missing {
		if p == "" || set.Hidden(p, true) && set.Hidden(p, false) {
			delete(missing, p)
		}
	}
	return slices.Sorted(maps.Keys(missing))
}
