package fstest

import (
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
)

// Torture returns a tree of about 500 objects and 20 MiB with what goes wrong
// in practice: odd names, modes, times, sizes, holes, symlinks, depth. The
// same seed gives the same tree. Names that the system cannot hold are left
// out. Directories without access are in it only with closed, since others
// than root cannot read them.
func Torture(seed uint64, closed bool) Spec {
	s := Spec{}
	names(s)
	modes(s, closed)
	times(s)
	sizes(s, seed)
	links(s)
	deep(s)
	for _, p := range slices.Collect(maps.Keys(s)) { // no directory is left to chance
		for p != "." {
			p = path.Dir(p)
			if _, ok := s[p]; !ok {
				s[p] = Dir()
			}
		}
	}
	for p, n := range s { // fixed times everywhere, so that two builds are equal
		if !n.timed {
			s[p] = n.At(1_600_000_000+int64(len(p)), int64(len(p))*1_000_003%1_000_000_000)
		}
	}
	return s
}

func names(s Spec) {
	odd := []string{
		"-rf", "--delete", " ", " leading", "trailing ", "two  spaces", "tab\there", "new\nline", "cr\rhere", "\n",
		"*", "?", "[a-z]", "{a,b}", "~", "$HOME", "`id`", "a;b", "a&b", "a|b", "a>b", "quote'", `quote"`, `back\slash`, `\`,
		"#hash#", "%41", "%2e%2e", "a:b", "...", "..a", ".hidden", "a.", "CON", "nul.txt", "é", "e\u0301", "ﬁ", "日本語",
		"\u202egnp.exe", "\U0001F680", "\x7f", "\x01", "Case", "case", "CASE", "i", "I", "ı", "İ",
		"\xff", "\xc3\x28", "bad\x80utf8", "\xed\xa0\x80",
		"a", "a-", "a.b", "a0", // 'a/…' sorts before all of them
		strings.Repeat("x", 255), strings.Repeat("é", 127) + "z", strings.Repeat("\xfe", 255),
	}
	for i, name := range odd {
		if !holds(name) {
			continue
		}
		if name == "a" {
			s["names/a/inside"] = File("inside")
			continue
		}
		s["names/"+name] = File(fmt.Sprintf("name %d\n", i))
		s["dirs/"+name+"/"+name] = File(fmt.Sprintf("in %d\n", i))
	}
}

// holds reports whether this system's usual file systems keep name as it is
// and apart from the others.
func holds(name string) bool {
	if runtime.GOOS != "windows" && runtime.GOOS != "darwin" {
		return true
	}
	for _, r := range name {
		if r < ' ' || r > '~' || strings.ContainsRune(`<>:"/\|?*`, r) {
			return false
		}
	}
	switch strings.ToLower(name) {
	case "con", "nul.txt", "a.", "...", " ", "trailing ":
		return false
	case "case", "i":
		return name == "case" || name == "i"
	}
	return true
}

func modes(s Spec, closed bool) {
	for _, m := range []uint32{0o000, 0o001, 0o100, 0o111, 0o200, 0o400, 0o444, 0o600, 0o640, 0o644, 0o666, 0o700, 0o755, 0o777, 0o2755, 0o4755, 0o6711, 0o1644} {
		if m&0o1000 != 0 && runtime.GOOS != "linux" {
			continue // only for root
		}
		if m&0o400 != 0 || closed {
			s[fmt.Sprintf("modes/file-%04o", m)] = File("mode").Mode(m)
		}
	}
	for _, m := range []uint32{0o500, 0o700, 0o711, 0o750, 0o755, 0o777, 0o1777, 0o2755, 0o2775, 0o3777} {
		s[fmt.Sprintf("modes/dir-%04o", m)] = Dir().Mode(m)
		s[fmt.Sprintf("modes/dir-%04o/in", m)] = File("in")
	}
	if closed {
		for _, m := range []uint32{0o000, 0o111, 0o444, 0o300} {
			s[fmt.Sprintf("modes/dir-%04o", m)] = Dir().Mode(m)
			s[fmt.Sprintf("modes/dir-%04o/in", m)] = File("in")
		}
	}
}

func times(s Spec) {
	for i, t := range []struct{ sec, nsec int64 }{
		{0, 0}, {0, 1}, {0, 999_999_999}, {-1, 0}, {-1, 500_000_000}, {-86400 * 365, 123_456_789}, {-1 << 31, 0},
		{1<<31 - 1, 999_999_999}, {1 << 31, 0}, {1<<32 + 5, 7}, {15_000_000_000, 1}, {1_700_000_000, 100}, {1_700_000_000, 123_456_700},
	} {
		if runtime.GOOS == "windows" && (t.sec < 0 || t.sec > 9_000_000_000 || t.nsec%100 != 0) {
			continue
		}
		s[fmt.Sprintf("times/file-%02d", i)] = File("time").At(t.sec, t.nsec)
		s[fmt.Sprintf("times/dir-%02d", i)] = Dir().At(t.sec, t.nsec)
		if runtime.GOOS != "windows" {
			s[fmt.Sprintf("times/link-%02d", i)] = Link("file-00").At(t.sec, t.nsec)
		}
	}
}

func sizes(s Spec, seed uint64) {
	const kib, mib = 1 << 10, 1 << 20
	s["sizes/empty"] = File("")
	for _, border := range []int64{1, 2, 512, 1 * kib, 4 * kib, 64 * kib, 1 * mib, 4 * mib} {
		for _, size := range []int64{border - 1, border, border + 1} {
			s[fmt.Sprintf("sizes/%08d", size)] = Random(size, seed+uint64(size))
		}
	}
	s["sizes/same-1"] = Random(300*kib, seed)
	s["sizes/same-2"] = Random(300*kib, seed)
	s["sizes/zeros"] = File(strings.Repeat("\x00", 200*kib))
	s["sparse/hole-only"] = Sparse(8*mib, seed)
	s["sparse/hole-first"] = Sparse(4*mib+3, seed, Range{4 * mib, 4*mib + 3})
	s["sparse/hole-last"] = Sparse(4*mib, seed, Range{0, 5})
	s["sparse/striped"] = Sparse(5*mib, seed, Range{0, 64 * kib}, Range{1 * mib, 1*mib + 64*kib}, Range{3*mib + 1, 3*mib + 100*kib})
}

func links(s Spec) {
	s["links/file"] = File("target")
	s["links/dir/x"] = File("x")
	if runtime.GOOS == "windows" {
		return // needs a privilege
	}
	for name, target := range map[string]string{
		"to-file": "file", "to-dir": "dir", "dangling": "nowhere", "absolute": "/etc/passwd", "absolute-dir": "/etc",
		"up": "../../..", "self": "self", "loop-1": "loop-2", "loop-2": "loop-1", "dot": ".", "slash": "dir/", "double": "dir//x",
		"odd": "new\nline \x01 é", "long": strings.Repeat("abcdefghi/", 100),
	} {
		s["links/"+name] = Link(target)
	}
	if runtime.GOOS == "linux" {
		s["links/invalid-utf8"] = Link("\xff\xfe")
	}
	s["special/fifo"] = Fifo().Mode(0o620)
}

func deep(s Spec) {
	p := "deep"
	for i := range 120 {
		p += fmt.Sprintf("/%d", i)
	}
	s[p+"/bottom"] = File("bottom")
	if runtime.GOOS != "windows" {
		s["long"+strings.Repeat("/"+strings.Repeat("l", 250), 12)+"/bottom"] = File("bottom")
	}
	s["empty/a/b/c"] = Dir()
	s["empty/d"] = Dir().Mode(0o700)
	for i := range 40 {
		s[fmt.Sprintf("wide/%03d", i)] = File(strings.Repeat("w", i))
	}
}
