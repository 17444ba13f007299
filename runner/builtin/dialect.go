package builtin

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/genericcorp/corp"
)

// dialect is one wire protocol of model vendors. The conversation is kept in the
// blocks of the Messages dialect, which say the most; another one translates
// each request from them and each answer into them.
type dialect interface {
	// path is put behind the gateway's address.
	path() string
	// authorize sets the headers that are the dialect's own.
	authorize(h http.Header, key string)
	encode(request modelRequest) ([]byte, error)
	// read reads one streamed answer. An error that came in the stream comes back
	// as *vendorError, anything short of a whole answer as errCut.
	read(r io.Reader, hear hearing) (answer, error)
	// adapt says whether the same request may be asked again, because it will now
	// be written in another form that this vendor may know.
	adapt(refused *vendorError) bool
}

// dialectOf returns the dialect of a provider, or nil for one that is not spoken
// here; the empty name is Anthropic's.
func dialectOf(name string) dialect {
	switch name {
	case "", corp.DialectAnthropic:
		return messagesDialect{}
	case corp.DialectOpenAI:
		return &chatDialect{}
	default:
		return nil
	}
}

// messagesDialect is Anthropic's Messages.
type messagesDialect struct{}

func (messagesDialect) path() string { return "/v1/messages" }

func (messagesDialect) authorize(h http.Header, key string) {
	h.Set("Anthropic-Version", dialectVersion)
	h.Set("X-Api-Key", key)
}

func (messagesDialect) encode(request modelRequest) ([]byte, error) { return json.Marshal(request) }

func (messagesDialect) read(r io.Reader, hear hearing) (answer, error) { return readAnswer(r, hear) }

func (messagesDialect) adapt(*vendorError) bool { return false }
