package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// How long to wait before starting a server again: from the first to the last,
// doubling, and from the first again once a server has lived long.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	longLife   = time.Minute
)

// logCheck is how often the size of the log is looked at.
const logCheck = 5 * time.Minute

// supervise owns the server's process until life ends, then stops it and gives
// the folder back. A server that dies before that is started again.
func (s *Server) supervise(life context.Context, p *process) {
	defer close(s.done)
	pause := firstPause
	for p != nil {
		born := time.Now()
		if !s.watch(life, p) {
			s.stopErr = s.finish(p)
			return
		}
		s.pid.Store(0)
		s.logger.Error("postgres died and is being started again", "error", exitError(p.err), "log", s.folder.log())
		if time.Since(born) > longLife {
			pause = firstPause
		}
		p, pause = s.revive(life, pause)
	}
	s.stopErr = s.finish(nil)
}

// watch returns true when the server died, false when life ended.
func (s *Server) watch(life context.Context, p *process) bool {
	tick := time.NewTicker(logCheck)
	defer tick.Stop()
	for {
		select {
		case <-life.Done():
			return false
		case <-p.done:
			return life.Err() == nil
		case <-tick.C:
			if err := trimLog(s.folder.log()); err != nil {
				s.logger.Warn("postgres log could not be trimmed", "error", err)
			}
		}
	}
}

// revive starts the server again, however often that takes. It returns nil if
// life ends before that, and the pause to begin with the next time.
func (s *Server) revive(life context.Context, pause time.Duration) (*process, time.Duration) {
	for {
		timer := time.NewTimer(pause)
		select {
		case <-life.Done():
			timer.Stop()
			return nil, pause
		case <-timer.C:
		}
		pause = min(2*pause, lastPause)
		began := time.Now()
		p, err := s.launch(life)
		if err == nil {
			s.pid.Store(int64(p.pid()))
			s.restarts.Add(1)
			s.logger.Warn("postgres is running again", "restarts", s.Restarts(), "duration_ms", time.Since(began).Milliseconds())
			return p, pause
		}
		if life.Err() != nil {
			return nil, pause
		}
		s.logger.Error("postgres did not start", "error", err)
	}
}

// finish stops the server, if there is one, and gives the folder back.
func (s *Server) finish(p *process) error {
	var err error
	if p != nil {
		err = shutDown(p, s.hurry)
	}
	s.pid.Store(0)
	if left := evict(s.folder.data()); len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("postgres processes %v do not end", left))
	}
	if filepath.Dir(s.socket) != string(s.folder) {
		_ = os.Remove(s.socket) // in the folder for temporary files; empty, or left for the next start
	}
	return errors.Join(err, s.lock.Close())
}
