package filter

import (
	"fmt"
	"strings"

	"github.com/ropeway/ropeway/internal/fault"
)

// style is how much of the language a rule may use.
type style uint8

const (
	rules style = iota // rules with a kind and modifiers
	plain              // patterns with or without "- " or "+ ", and "!"
	bare               // patterns only
)

// source is where a rule comes from and what it takes over from there.
type source struct {
	style style
	flags flags  // for each rule that does not say otherwise; sides can not be overridden
	words bool   // the file is split at white space, not into lines
	bang  bool   // with bare: "!" drops all rules
	depth int    // of merge rules
	where string // file and line; empty for an option
}

func (c source) at() string {
	if c.where == "" {
		return "filter rule"
	}
	return c.where
}

// refuse returns the error for a rule that can not be used.
func (c source) refuse(hint, text string, args ...any) error {
	return fault.New(fault.Usage, hint, "%s: %s", c.at(), fmt.Sprintf(text, args...))
}

// rule adds the rule or rules that text asks for. Empty text asks for none.
func (b *Builder) rule(text string, from source) error {
	if text == "" {
		return nil
	}
	f := from.flags
	switch from.style {
	case bare:
		if text == "!" && from.bang {
			b.specs = nil
			return nil
		}
	case plain:
		if text == "!" {
			b.specs = nil
			return nil
		}
		if pattern, ok := strings.CutPrefix(text, "- "); ok {
			f, text = f&^include, pattern
		} else if pattern, ok := strings.CutPrefix(text, "+ "); ok {
			f, text = f|include, pattern
		}
	default:
		return b.fullRule(text, from)
	}
	return b.add(f, text, from)
}

// kinds are the names of the kinds of rules and the letters for them.
var kinds = []struct {
	letter byte
	name   string
}{
	{'-', "exclude"}, {'+', "include"}, {'H', "hide"}, {'S', "show"}, {'P', "protect"}, {'R', "risk"},
	{'.', "merge"}, {':', "dir-merge"}, {'!', "clear"},
}

// splitKind returns the letter for the kind of the rule and what follows it,
// beginning with the modifiers; letter is 0 if text is no rule.
func splitKind(text string) (letter byte, rest string) {
	for _, k := range kinds {
		if text[0] == k.letter {
			return k.letter, strings.TrimPrefix(text[1:], ",")
		}
		if rest, ok := strings.CutPrefix(text, k.name); ok {
			if rest == "" || rest[0] == '_' || isSpace(rest[0]) {
				return k.letter, rest
			}
			if rest[0] == ',' {
				return k.letter, rest[1:]
			}
		}
	}
	return 0, ""
}

// isSpace reports whether c separates words.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// fullRule is rule for the full language.
func (b *Builder) fullRule(text string, from source) error {
	letter, rest := splitKind(text)
	f := from.flags &^ sides
	var own flags // sides that the rule itself names
	switch letter {
	case '!':
		if rest != "" {
			return from.refuse("", "%.200q must stand alone, it drops all rules", text)
		}
		b.specs = nil
		return nil
	case '-', '.':
	case '+':
		f |= include
	case 'H':
		own = sender
	case 'S':
		f, own = f|include, sender
	case 'P':
		own = receiver
	case 'R':
		f, own = f|include, receiver
	case ':':
		return from.refuse("put the rules into one file and name it with a merge rule",
			"%.200q: rule files inside the tree (dir-merge) are not supported", text)
	default:
		return from.refuse("a rule begins with - or + and a space, or with a name such as hide, protect or merge",
			"%.200q is not a rule", text)
	}

	m := source{depth: from.depth + 1} // for merge rules: how to read the file
	var cvs, self bool
	end := strings.IndexAny(rest, " _")
	if end < 0 {
		end = len(rest)
	}
	modifiers, pattern := rest[:end], rest[min(end+1, len(rest)):]
	merge, free := letter == '.', own == 0 // free: to name a side
	for i := 0; i < len(modifiers); i++ {
		ok := true
		switch modifiers[i] {
		case '/':
			f |= absolute
		case '!':
			ok = !merge
			f |= negate
		case 'p':
			f |= perishable
		case 's':
			ok = free
			own |= sender
		case 'r':
			ok = free
			own |= receiver
		case 'C':
			ok = free && m.style != bare
			cvs, m.style, m.words, m.bang = true, bare, true, true
		case '-', '+':
			ok = merge && m.style != bare
			m.style = bare
			if modifiers[i] == '+' {
				f |= include
			}
		case 'e':
			ok = merge
			self = true
		case 'n':
			ok = merge // says that subdirectories do not inherit: of no effect here
		case 'w':
			ok = merge
			m.words = true
		case 'x':
			return from.refuse("", "%.200q: rules for extended attributes are not supported", text)
		default:
			ok = false
		}
		if !ok {
			return from.refuse("", "%.200q: a rule of this kind can not have the modifier %q", text, modifiers[i])
		}
	}
	if own != 0 && from.flags&sides != 0 {
		return from.refuse("", "%.200q names a side, but so does the merge rule that read this file", text)
	}
	f |= own | from.flags&sides

	switch {
	case merge:
		m.flags = f
		if pattern == "" && cvs {
			pattern = ".cvsignore"
		}
		return b.merge(pattern, self, m, from)
	case cvs:
		if pattern != "" {
			return from.refuse("", "%.200q: the modifier C stands for a fixed list and takes no pattern", text)
		}
		for p := range strings.FieldsSeq(cvsPatterns) {
			if err := b.add(f|perishable, p, from); err != nil {
				return err
			}
		}
		return nil
	}
	return b.add(f, pattern, from)
}

// cvsPatterns is what version control and build leave behind, by rsync's
// definition of its modifier C.
const cvsPatterns = `RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo
	*~ #* .#* ,* _$* *$ *.old *.bak *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj *.so *.exe *.Z *.elc *.ln
	core .svn/ .git/ .hg/ .bzr/`
