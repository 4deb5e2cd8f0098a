package job

import (
	"github.com/ropeway/ropeway/internal/manifest"
)

// itemize describes a change in rsync's eleven letters. old is nil for what is
// new. checksum is whether the user asked for a comparison by content, which
// is when rsync reports content that differs.
func itemize(old, now *manifest.Entry, mask manifest.Mask, checksum bool) string {
	b := []byte("...........")
	switch now.Type {
	case manifest.File:
		b[1] = 'f'
	case manifest.Dir:
		b[1] = 'd'
	case manifest.Symlink:
		b[1] = 'L'
	}
	content := old == nil || !manifest.SameContent(old, now)
	switch {
	case content && now.Type == manifest.File:
		b[0] = '>'
	case content:
		b[0] = 'c'
	}
	if old == nil || old.Type != now.Type {
		for i := 2; i < len(b); i++ {
			b[i] = '+'
		}
		return string(b)
	}
	if now.Type == manifest.File && old.Size != now.Size {
		b[3] = 's'
	}
	if old.Sec != now.Sec || old.Nsec != now.Nsec {
		if mask&manifest.Times != 0 {
			b[4] = 't'
		} else if content && now.Type == manifest.File {
			b[4] = 'T'
		}
	}
	if now.Type != manifest.Symlink && !manifest.SameAttrs(&manifest.Entry{Type: now.Type, Mode: old.Mode}, &manifest.Entry{Type: now.Type, Mode: now.Mode}, mask&manifest.Perm) {
		b[5] = 'p'
	}
	if mask&manifest.Owner != 0 && (old.UID != now.UID || old.User != now.User) {
		b[6] = 'o'
	}
	if mask&manifest.Group != 0 && (old.GID != now.GID || old.Group != now.Group) {
		b[7] = 'g'
	}
	if content && (checksum || now.Type == manifest.Symlink || b[3] == '.' && b[4] == '.') {
		b[2] = 'c'
	}
	return string(b)
}

const deleting = "*deleting  "
