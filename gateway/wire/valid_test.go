package wire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/genericcorp/corp/gateway/wire"
)

// What a vendor sends is anybody's: its own address is a workspace's to choose.
func TestABombOfBracketsDoesNotEndTheProcess(t *testing.T) {
	t.Parallel()
	const size = 8<<20 - 8
	for _, bomb := range []string{"[", `{"a":`, `{"usage":[`, `["\\\"",[`} {
		text := []byte(strings.Repeat(bomb, size/len(bomb)))
		if wire.Valid(text) {
			t.Errorf("%s is valid", bomb)
		}
	}
}

func TestWhatIsNotDeepIsAsValidAsForTheStandardLibrary(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{}`, `[]`, ` {"a":[1,{"b":"]}[{"}]} `, `"\""`, `"\\"`, `{"a":"\\\"{"}`, strings.Repeat("[", 500) + strings.Repeat("]", 500),
		``, `{`, `}`, `]`, `[}`, `{]`, `"`, `"\`, `{"a":1}}`, `[1]]`, `{"a":1}{`, `nul`, `1 2`,
	} {
		if got, want := wire.Valid([]byte(text)), json.Valid([]byte(text)); got != want {
			t.Errorf("%.40q: %v, want %v", text, got, want)
		}
	}
	if wire.Valid([]byte(strings.Repeat("[", 501) + strings.Repeat("]", 501))) {
		t.Error("an answer may nest deeper than a request")
	}
}
