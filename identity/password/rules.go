package password

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/genericcorp/corp"
)

// The list is from zxcvbn, see common.LICENSE. One password a line, in lower
// case, those of MinBytes and more.
//
//go:embed common.txt.gz
var packed []byte

var common = sync.OnceValue(func() map[string]struct{} {
	list := map[string]struct{}{}
	from, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic(fmt.Sprintf("the embedded list of passwords: %v", err))
	}
	text, err := io.ReadAll(from)
	if err != nil {
		panic(fmt.Sprintf("the embedded list of passwords: %v", err))
	}
	for line := range strings.Lines(string(text)) {
		list[strings.TrimSuffix(line, "\n")] = struct{}{}
	}
	return list
})

// Check says what is wrong with a password that somebody wants to have. About
// holds what is known of the person (address, name): a password that is only that
// is refused. It asks for no mixture of characters.
func Check(password string, about ...string) error {
	const field = "password"
	switch {
	case len(password) < MinBytes:
		return corp.Invalid(field, fmt.Sprintf("A password has at least %d characters.", MinBytes), "Take three or four words that do not belong together.")
	case len(password) > MaxBytes:
		return corp.Invalid(field, fmt.Sprintf("A password has at most %d bytes.", MaxBytes), "Take a shorter one.")
	}
	lower := strings.ToLower(password)
	if _, ok := common()[lower]; ok || monotone(lower) {
		return corp.Invalid(field, "This password is among the first that anybody tries.", "Take three or four words that do not belong together.")
	}
	for _, known := range about {
		known = strings.ToLower(strings.TrimSpace(known))
		local, _, _ := strings.Cut(known, "@")
		if known != "" && (lower == known || lower == local || lower == local+local) {
			return corp.Invalid(field, "This password is your own name or address.", "Take three or four words that do not belong together.")
		}
	}
	return nil
}

// monotone says whether the password is a short text over and over, or a run of
// neighbours ("abcdefgh", "98765432").
func monotone(s string) bool {
	for width := 1; width <= 3; width++ {
		if strings.Repeat(s[:width], len(s)/width+1)[:len(s)] == s {
			return true
		}
	}
	step := int(s[1]) - int(s[0])
	if step != 1 && step != -1 {
		return false
	}
	for i := 1; i < len(s); i++ {
		if int(s[i])-int(s[i-1]) != step {
			return false
		}
	}
	return true
}
