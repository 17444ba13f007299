package portal

import (
	"fmt"
	"html/template"
	"strings"

	"rsc.io/qr"
)

// picture draws a text as a QR code that is part of the page: it is a secret, and
// no address of a picture may hold it. A text that is too long has none.
func picture(text string) template.HTML {
	code, err := qr.Encode(text, qr.M)
	if err != nil || text == "" {
		return ""
	}
	const quiet = 4 // modules of margin, as readers want
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="qr" viewBox="0 0 %[1]d %[1]d" role="img" aria-label="QR code for an authenticator app" shape-rendering="crispEdges"><rect width="%[1]d" height="%[1]d" fill="#fff"/><path fill="#000" d="`, code.Size+2*quiet)
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fmt.Fprintf(&b, "M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers and our own text
}
