package wire_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/wire"
)

// A body of a few megabytes must not cost the server minutes, whatever stands in it.
func TestABodyOfManyFieldsIsReadInTimeThatGrowsWithItsSize(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&b, `,"x%d":0`, i)
	}
	skip := func(s *wire.Scanner, _ string) error { _, err := s.Skip(); return err }
	began := time.Now()
	_, err := wire.Object([]byte("{"+b.String()[1:]+"}"), skip)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("%d bytes took %s", b.Len(), took)
	}
	if err != nil {
		t.Error(err)
	}
	for _, twice := range []string{`,"X199999":1`, `,"\u0058199999":1`, `,"\u00c4":1,"\u00e4":1`} {
		if _, err := wire.Object([]byte("{"+b.String()[1:]+twice+"}"), skip); corp.KindOf(err) != corp.KindInvalid || !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s: %v", twice, err)
		}
	}
}

// Go's own parser takes "max_token\u017f" for max_tokens, and the later of two wins:
// a cap that the gateway adds would be passed over.
func TestAFieldThatSomeParsersTakeForAnotherIsRefused(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"max_token\u017f", "\u017ftream", "me\u017fsages", "tool\u017f", "\u212aeep_alive", `tool\u017f`} {
		body := `{"model":"m","` + field + `":1}`
		var parsed struct {
			Cap int `json:"max_tokens"`
		}
		if err := json.Unmarshal([]byte(body), &parsed); err != nil || strings.HasPrefix(field, "max") && parsed.Cap != 1 {
			t.Fatalf("%s: %v, %+v", field, err, parsed)
		}
		_, err := wire.Object([]byte(body), func(s *wire.Scanner, _ string) error { _, err := s.Skip(); return err })
		if corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%s: %v", field, err)
		}
	}
}
