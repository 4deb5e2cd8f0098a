package auth

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

const (
	tokensFile  = "tokens.json"
	tokensMax   = 16 << 20    // bytes of the file
	tokensCheck = time.Second // how stale Tokens may be
	idLen       = 8           // characters of the hash
)

// Tokens are the grants of a server, kept in tokens.json of a directory with
// mode 0600. Several processes may change the file; a running server sees it
// within a second. Methods may be called from several goroutines.
type Tokens struct {
	dir  string
	fail *limiter

	mu      sync.Mutex
	grants  []Grant
	err     error // of the last load: nobody is let in until it is mended
	checked time.Time
	size    int64 // of the file when it was loaded, -1 for none
	mtime   time.Time
}

// OpenTokens returns the tokens in dir; a missing file holds none.
func OpenTokens(dir string) (*Tokens, error) {
	t := &Tokens{dir: dir, fail: newLimiter()}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.load()
	return t, t.err
}

// Add makes a token and returns it; it cannot be shown again. expires zero
// stands for never. It returns a Usage fault when it would permit nothing.
func (t *Tokens) Add(name string, verbs Verb, modules []string, expires time.Time) (token string, g Grant, err error) {
	if verbs&(Read|Write) == 0 || verbs&^(Read|Write) != 0 || len(modules) == 0 {
		return "", Grant{}, fault.New(fault.Usage, "give verbs and modules", "the token would permit nothing")
	}
	for _, m := range modules {
		if m != AllModules && !validModule(m) {
			return "", Grant{}, fault.New(fault.Usage, "", "%q cannot name a module", clip(m, 80))
		}
	}
	token = newToken()
	h := hash(token)
	g = Grant{
		ID: h[:idLen], Name: name, Hash: h, Verbs: verbs, Modules: slices.Clone(modules),
		Created: time.Now().UTC().Truncate(time.Second), Expires: expires.UTC().Truncate(time.Second),
	}
	return token, g, t.change(func(gs []Grant) ([]Grant, error) { return append(gs, g), nil })
}

// Remove revokes the token with the id; an unknown one is a NotFound fault.
func (t *Tokens) Remove(id string) error {
	return t.change(func(gs []Grant) ([]Grant, error) {
		n := len(gs)
		gs = slices.DeleteFunc(gs, func(g Grant) bool { return g.ID == id })
		if len(gs) == n {
			return nil, fault.New(fault.NotFound, "", "no token %q", clip(id, 80))
		}
		return gs, nil
	})
}

// List returns the grants in the order in which they were made.
func (t *Tokens) List() ([]Grant, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.load()
	return slices.Clone(t.grants), t.err
}

func (t *Tokens) change(f func([]Grant) ([]Grant, error)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return withLock(t.dir, func() error {
		t.load()
		if t.err != nil {
			return t.err
		}
		gs, err := f(slices.Clone(t.grants))
		if err != nil {
			return err
		}
		data, err := json.MarshalIndent(tokensDoc{Version: 1, Tokens: toDoc(gs)}, "", "  ")
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(t.dir, tokensFile), append(data, '\n'), 0o600); err != nil {
			return fault.Wrap(fault.Other, err, "", "the tokens")
		}
		t.load()
		return t.err
	})
}

// current returns the grants, at most tokensCheck old.
func (t *Tokens) current() ([]Grant, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.checked) >= tokensCheck {
		fi, err := os.Stat(filepath.Join(t.dir, tokensFile))
		same := err == nil && fi.Size() == t.size && fi.ModTime().Equal(t.mtime) ||
			errors.Is(err, fs.ErrNotExist) && t.size == -1
		if !same || t.err != nil {
			t.load()
		}
		t.checked = now
	}
	return t.grants, t.err // load replaces the slice, it never changes it
}

func (t *Tokens) load() {
	path := filepath.Join(t.dir, tokensFile)
	t.grants, t.err, t.size, t.checked = nil, nil, -1, time.Now()
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		t.size, t.mtime = fi.Size(), fi.ModTime() // before the read: a change during it is seen next time
		if checksModes && fi.Mode().Perm()&0o022 != 0 {
			t.err = fault.New(fault.Denied, "chmod 600 "+path, "others can change the tokens in %s", path)
			return
		}
	}
	var data []byte
	if err == nil {
		data, err = readFile(path, tokensMax)
	}
	if err == nil {
		t.grants, err = parseTokens(data)
	}
	if err != nil {
		t.err = fault.Wrap(fault.Other, err, "mend or remove the file", "the tokens in %s", path)
	}
}
