package builtin

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

const (
	sessionVersion  = 1
	maxSessionBytes = 256 << 20
)

// session is a conversation, as it is kept in a file. Its messages always are
// ones that a vendor accepts: every tool call has its result, and the two sides
// take turns.
type session struct {
	Version  int       `json:"version"`
	ID       string    `json:"id"`
	Model    string    `json:"model"`
	Used     int       `json:"used_tokens"` // of the context, when the last answer had come
	Fresh    int       `json:"fresh_bytes"` // that it grew by since
	Messages []message `json:"messages"`

	Summary   int `json:"summary_at,omitempty"` // the block of the first message that sums up what is gone; 0 means none
	Shortened int `json:"shortened,omitempty"`  // how often
	Window    int `json:"window,omitempty"`     // tokens that the model turned out to hold; 0 means as many as was said
	Density   int `json:"density,omitempty"`    // tokens in 1,000 bytes, when the conversation was last shortened

	checkout *checkout
	journal  *journal
}

func newID(prefix string) string {
	raw := make([]byte, 12)
	_, _ = rand.Read(raw) // it never fails: without randomness the program ends
	return prefix + hex.EncodeToString(raw)
}

// say adds blocks of the user's side: to its last message, if the last one is
// its own, because the sides must take turns.
func (s *session) say(blocks ...block) {
	for _, b := range blocks {
		s.Fresh += len(b.Text) + len(b.Content)
	}
	if last := len(s.Messages) - 1; last >= 0 && s.Messages[last].Role == roleUser {
		s.Messages[last].Content = append(s.Messages[last].Content, blocks...)
		return
	}
	s.Messages = append(s.Messages, message{Role: roleUser, Content: blocks})
}

// answered adds an answer of the model. A vendor refuses an empty one, so it is left out.
func (s *session) answered(blocks []block) {
	if len(blocks) > 0 {
		s.Messages = append(s.Messages, message{Role: roleAssistant, Content: blocks})
	}
}

// sessions is the folder in which conversations are kept.
type sessions struct{ dir string }

func newSessions(home string) sessions {
	return sessions{dir: filepath.Join(home, ".corp", "sessions")}
}

var sessionID = regexp.MustCompile(`\Asession_[0-9a-f]{24}\z`)

// save writes a conversation as a whole or not at all. It is safe against the
// end of this process at any time; against that of the machine it need not be,
// as the checkout is not either.
func (d sessions) save(s *session) error {
	s.Version = sessionVersion
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	temporary := filepath.Join(d.dir, s.ID+".tmp")
	err = os.WriteFile(temporary, raw, 0o600)
	if err == nil {
		err = os.Rename(temporary, filepath.Join(d.dir, s.ID+".json"))
	}
	if err != nil {
		_ = os.Remove(temporary) // it may not be there
		return fmt.Errorf("save session: %w", err)
	}
	return nil
}

var (
	errNoSession  = errors.New("there is no such session")
	errBadSession = errors.New("the session's file cannot be read")
)

// load reads a conversation. It returns errNoSession if there is none of that
// id, and errBadSession if the file is not what save wrote.
func (d sessions) load(id string) (*session, error) {
	if !sessionID.MatchString(id) {
		return nil, errNoSession // and no path is made of it
	}
	f, err := os.Open(filepath.Join(d.dir, id+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoSession
	}
	if err != nil {
		return nil, fmt.Errorf("load session: %w", err)
	}
	defer func() { _ = f.Close() }() // only read from
	raw, err := io.ReadAll(io.LimitReader(f, maxSessionBytes))
	if err != nil {
		return nil, fmt.Errorf("load session: %w", err)
	}
	s := &session{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadSession, err)
	}
	if s.Version != sessionVersion || s.ID != id {
		return nil, fmt.Errorf("%w: it is of version %d and session %.40q", errBadSession, s.Version, s.ID)
	}
	return s, nil
}
