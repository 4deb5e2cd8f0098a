package scan

import (
	"os/user"
	"strconv"
	"sync"

	"github.com/ropeway/ropeway/internal/manifest"
)

// maxOwners bounds the names that are remembered of each kind.
const maxOwners = 4096

// Names looks up the names of users and groups by number and remembers them,
// also that there is none. It is safe for concurrent use. A process that lives
// long makes a new one for each walk or job, since names change.
type Names struct {
	mu     sync.Mutex
	users  map[uint32]string
	groups map[uint32]string
}

// NewNames returns an empty Names.
func NewNames() *Names {
	return &Names{users: make(map[uint32]string), groups: make(map[uint32]string)}
}

// User returns the name of the user with the number uid, "" if there is none.
func (n *Names) User(uid uint32) string {
	return n.get(n.users, uid, func(id string) (string, error) {
		u, err := user.LookupId(id)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

// Group returns the name of the group with the number gid, "" if there is none.
func (n *Names) Group(gid uint32) string {
	return n.get(n.groups, gid, func(id string) (string, error) {
		g, err := user.LookupGroupId(id)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

func (n *Names) get(known map[uint32]string, id uint32, look func(string) (string, error)) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name, ok := known[id]; ok {
		return name
	}
	name, err := look(strconv.FormatUint(uint64(id), 10))
	if err != nil || len(name) > manifest.MaxUser {
		name = ""
	}
	if len(known) >= maxOwners {
		clear(known)
	}
	known[id] = name
	return name
}
