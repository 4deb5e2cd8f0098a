package plain

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// jsonFormat is one object; each entry stands in a line of its own.
type jsonFormat struct{}

func (jsonFormat) contentType() string { return "application/json" }

func (jsonFormat) begin(b []byte, path string, _ bool) []byte {
	b = append(b, `{"schema":1`...)
	b = appendField(b, "path", path)
	return append(b, `,"entries":[`...)
}

func (jsonFormat) item(b []byte, it *item, first bool) []byte {
	if !first {
		b = append(b, ',')
	}
	b = append(b, "\n{\"type\":"...)
	b = appendString(b, it.kind)
	b = appendField(b, "name", it.name)
	if it.file {
		b = append(b, `,"size":`...)
		b = strconv.AppendInt(b, it.size, 10)
	}
	if !it.mtime.IsZero() {
		b = append(b, `,"mtime":"`...)
		b = it.mtime.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, '"')
	}
	if it.target != "" {
		b = appendField(b, "target", it.target)
	}
	return append(b, '}')
}

func (jsonFormat) end(b []byte) []byte { return append(b, "\n]}\n"...) }

// appendField appends a field of bytes. What is not UTF-8 is followed by a
// second field, called key_b64, that has it exactly.
func appendField(b []byte, key, value string) []byte {
	b = append(b, `,"`+key+`":`...)
	b = appendString(b, value)
	if !utf8.ValidString(value) {
		b = append(b, `,"`+key+`_b64":"`...)
		b = base64.StdEncoding.AppendEncode(b, []byte(value))
		b = append(b, '"')
	}
	return b
}

func appendString(b []byte, s string) []byte {
	q, _ := json.Marshal(s) // a string always can be
	return append(b, q...)
}

// htmlFormat is a small page that needs nothing else.
type htmlFormat struct{}

func (htmlFormat) contentType() string { return "text/html; charset=utf-8" }

const style = `:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}` +
	`h1{font-size:1.1rem;overflow-wrap:anywhere}table{border-collapse:collapse;width:100%}` +
	`th{text-align:left;font-weight:600;border-bottom:1px solid #8886}td,th{padding:.15rem .8rem .15rem 0;vertical-align:top}` +
	`td:first-child{overflow-wrap:anywhere}.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}a{text-decoration:none}a:hover{text-decoration:underline}`

func (htmlFormat) begin(b []byte, path string, top bool) []byte {
	title := html.EscapeString(visible("/" + path))
	b = append(b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n"...)
	b = append(b, "<title>"+title+"</title><style>"+style+"</style></head>\n<body><h1>"+title+"</h1>\n"...)
	b = append(b, "<table><thead><tr><th>Name</th><th class=\"n\">Size</th><th class=\"n\">Modified (UTC)</th></tr></thead><tbody>\n"...)
	if !top {
		b = append(b, "<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n"...)
	}
	return b
}

func (htmlFormat) item(b []byte, it *item, _ bool) []byte {
	shown := visible(it.name)
	// "./" keeps a colon in a name from ending a scheme.
	href := "./" + url.PathEscape(it.name)
	if it.dir {
		shown += "/"
		href += "/"
	}
	shown = html.EscapeString(shown)
	b = append(b, "<tr><td>"...)
	if it.link {
		b = append(b, `<a href="`+html.EscapeString(href)+`">`+shown+"</a>"...)
	} else {
		b = append(b, shown+" ("+it.kind+")"...)
	}
	if it.target != "" {
		b = append(b, " → "+html.EscapeString(visible(it.target))...)
	}
	b = append(b, `</td><td class="n">`...)
	if it.file {
		b = append(b, `<span title="`+strconv.FormatInt(it.size, 10)+` bytes">`+bytesText(it.size)+"</span>"...)
	}
	b = append(b, `</td><td class="n">`...)
	if !it.mtime.IsZero() {
		b = it.mtime.UTC().AppendFormat(b, "2006-01-02 15:04:05")
	}
	return append(b, "</td></tr>\n"...)
}

func (htmlFormat) end(b []byte) []byte { return append(b, "</tbody></table></body></html>\n"...) }

// visible replaces what cannot be shown, or would change how its neighbours
// are shown.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return utf8.RuneError
		}
		return r
	}, s)
}

// bytesText returns n with a binary unit.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	x, i := float64(n)/1024, 0
	for x >= 1023.95 && i < len(units)-1 {
		x /= 1024
		i++
	}
	return strconv.FormatFloat(x, 'f', 1, 64) + " " + units[i:i+1] + "iB"
}
