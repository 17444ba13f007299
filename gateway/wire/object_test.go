package wire_test

import (
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
	for _, twice := range []string{`,"X199999":1`, `,"\u0058199999":1`, `,"\u212a\u017f":1,"ks":1`} {
		if _, err := wire.Object([]byte("{"+b.String()[1:]+twice+"}"), skip); corp.KindOf(err) != corp.KindInvalid || !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s: %v", twice, err)
		}
	}
}
