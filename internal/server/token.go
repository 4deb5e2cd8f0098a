package server

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/config"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
)

// The token that a server prints must be the same after a restart, or URLs
// that were handed out would end. Grants hold hashes only, so the tokens
// themselves are kept in a file for the owner alone, one a line: each for the
// modules and verbs that its grant has, because a URL that was given out for
// one directory must not open another, nor one for reading suddenly write.
const (
	tokenFile    = "serve-token"
	tokenFileMax = 64 << 10 // bytes
	tokenName    = "serve"  // of the grants
)

// printedToken returns the token for the modules: a kept one, or a new one. A
// nil dir keeps nothing.
func printedToken(dir *fsys.Dir, tokens *auth.Tokens, modules []config.Module, warn func(string, ...any)) (string, error) {
	verbs := auth.Read
	var names []string
	for _, m := range modules {
		if names = append(names, m.Name); m.Writable {
			verbs |= auth.Write
		}
	}
	slices.Sort(names)
	if dir == nil {
		token, _, err := tokens.Add(tokenName, verbs, names, time.Time{})
		return token, err
	}
	grants, err := tokens.List()
	if err != nil {
		return "", err
	}
	kept, secret, err := readTokens(dir)
	if err != nil {
		return "", err
	}
	known := kept[:0]
	for _, t := range kept {
		g := grantOf(grants, t)
		switch {
		case g == nil: // revoked, or not a token at all
		case !secret:
			if err := tokens.Remove(g.ID); err != nil {
				return "", err
			}
		case g.Verbs == verbs && slices.Equal(g.Modules, names) && g.Allows(names[0], verbs, time.Now()):
			return t, nil
		default:
			known = append(known, t)
		}
	}
	if !secret {
		warn("others could read the tokens in %s/%s, so new ones replace them: URLs that were given out do not work any more", dir.Path(), tokenFile)
	}
	token, _, err := tokens.Add(tokenName, verbs, names, time.Time{})
	if err != nil {
		return "", err
	}
	return token, writeTokens(dir, append(known, token))
}

func grantOf(grants []auth.Grant, token string) *auth.Grant {
	h := sha256.Sum256([]byte(token))
	want := hex.EncodeToString(h[:])
	i := slices.IndexFunc(grants, func(g auth.Grant) bool { return g.Hash == want })
	if i < 0 {
		return nil
	}
	return &grants[i]
}

// readTokens returns the lines of the file, and whether only its owner could
// read them. A file that is missing, or is none that we wrote, has no lines.
func readTokens(dir *fsys.Dir) (lines []string, secret bool, err error) {
	f, info, err := dir.OpenFile(tokenFile)
	if fsys.IsNotExist(err) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fault.Wrap(fsys.Class(err), err, "remove it for a new token", "cannot read the token")
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, tokenFileMax))
	if err != nil {
		return nil, false, fault.Wrap(fsys.Class(err), err, "remove it for a new token", "cannot read the token")
	}
	return strings.Fields(string(data)), !checksModes || info.Mode&0o077 == 0, nil
}

// writeTokens replaces the file in one step.
func writeTokens(dir *fsys.Dir, lines []string) error {
	const temp = tokenFile + ".new"
	_ = dir.Remove(temp) // of a process that was killed
	f, err := dir.CreateFile(temp, 0o600)
	if err == nil {
		_, err = io.WriteString(f, strings.Join(lines, "\n")+"\n")
		if e := f.Sync(); err == nil {
			err = e
		}
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err == nil {
		err = dir.Rename(temp, dir, tokenFile)
	}
	if err != nil {
		return fault.Wrap(fsys.Class(err), err, "", "cannot keep the token")
	}
	_ = dir.Sync() // not every system can; the rename stands
	return nil
}
