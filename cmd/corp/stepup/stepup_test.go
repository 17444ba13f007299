package stepup

import (
	"strings"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func TestAPasswordIsReadAsItIsAndACodeFromTheSecondLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]client.Again{
		"tulip":                  {Password: "tulip"},
		"tulip\n":                {Password: "tulip"},
		"tulip\r\n":              {Password: "tulip"},
		" with spaces \n":        {Password: " with spaces "},
		"tulip\n123456":          {Password: "tulip", Code: "123456"},
		"tulip\n 123 456 \nmore": {Password: "tulip", Code: "123 456"},
	} {
		p := Proof{In: strings.NewReader(in)}
		if got, err := p.read(); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "\n", "\r\n", "\n123456\n"} {
		p := Proof{In: strings.NewReader(in)}
		if _, err := p.read(); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%q: %v", in, err)
		}
	}
}
