package auth

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// tokensDoc is the form of tokens.json.
type tokensDoc struct {
	Version int        `json:"version"`
	Tokens  []grantDoc `json:"tokens"`
}

type grantDoc struct {
	Name    string     `json:"name,omitempty"`
	SHA256  string     `json:"sha256"`
	Verbs   []string   `json:"verbs"`
	Modules []string   `json:"modules"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
}

func toDoc(gs []Grant) []grantDoc {
	docs := make([]grantDoc, 0, len(gs))
	for _, g := range gs {
		d := grantDoc{Name: g.Name, SHA256: g.Hash, Modules: g.Modules, Created: g.Created}
		for _, x := range verbWords {
			if g.Verbs&x.v != 0 {
				d.Verbs = append(d.Verbs, x.w)
			}
		}
		if !g.Expires.IsZero() {
			d.Expires = &g.Expires
		}
		docs = append(docs, d)
	}
	return docs
}

// parseTokens is strict: a word that it does not know could be a restriction.
func parseTokens(data []byte) ([]Grant, error) {
	var doc tokensDoc
	if err := unmarshalStrict(data, &doc); err != nil {
		return nil, err
	}
	if doc.Version != 1 {
		return nil, fmt.Errorf("version %d is not known", doc.Version)
	}
	gs := make([]Grant, 0, len(doc.Tokens))
	for i, d := range doc.Tokens {
		if b, err := hex.DecodeString(d.SHA256); err != nil || len(b) != 32 {
			return nil, fmt.Errorf("token %d: not a SHA-256", i+1)
		}
		g := Grant{Name: d.Name, Hash: d.SHA256, Modules: d.Modules, Created: d.Created}
		for _, w := range d.Verbs {
			v, err := ParseVerbs(w)
			if err != nil {
				return nil, fmt.Errorf("token %d: %w", i+1, err)
			}
			g.Verbs |= v
		}
		if d.Expires != nil {
			g.Expires = *d.Expires
		}
		g.ID = g.Hash[:idLen]
		gs = append(gs, g)
	}
	return gs, nil
}

func unmarshalStrict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return fmt.Errorf("more than one document")
	}
	return nil
}
