package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// How long a server gets to end, by the way it is asked.
const (
	fastWait      = 30 * time.Second // ends sessions, writes everything
	immediateWait = 5 * time.Second  // drops everything; the next start recovers
)

// maxLog is the size, in bytes, at which a log file is put aside.
const maxLog = 16 << 20

// launch starts a server on the data folder and waits until it takes
// connections. A recovery takes as long as it takes: only ctx ends the wait.
func (s *Server) launch(ctx context.Context) (*process, error) {
	if err := s.vacate(); err != nil {
		return nil, err
	}
	if err := writeConf(s.folder, s.as, s.major, s.durable, s.settings); err != nil {
		return nil, err
	}
	logFile, err := openLog(s.folder.log())
	if err != nil {
		return nil, err
	}
	defer func() { _ = logFile.Close() }()
	from, err := logFile.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	cmd := command(s.binaries.program("postgres"), s.as, string(s.folder), fixed(s.folder, s.socket)...)
	// A file and not a pipe: what the server says while it outlives us is kept.
	cmd.Stdout, cmd.Stderr = logFile, logFile
	dieWithParent(cmd.SysProcAttr, syscall.SIGINT)
	p, err := spawn(cmd)
	if err != nil {
		return nil, fmt.Errorf("run postgres: %w", err)
	}
	if err := s.awaitReady(ctx, p); err != nil {
		return nil, errors.Join(err, shutDown(p, s.hurry), sayings(s.folder.log(), from))
	}
	return p, nil
}

// vacate clears the data folder of whatever an earlier server left running.
func (s *Server) vacate() error {
	stopped, err := vacate(s.folder.data(), s.socket, fastWait)
	if stopped {
		s.logger.Warn("stopped a postgres that had outlived its parent", "dir", string(s.folder))
	}
	return err
}

// awaitReady waits until the server says in its pid file that it is ready.
func (s *Server) awaitReady(ctx context.Context, p *process) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if f := readPidFile(s.folder.data()); f.pid == p.pid() && f.ready {
			return nil
		}
		select {
		case <-p.done:
			return errors.New("postgres ended while starting")
		case <-ctx.Done():
			return fmt.Errorf("start postgres: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// shutDown stops a server: fast, or at once when that takes too long or hurry
// is closed. It returns an error if the next start will have to recover.
func shutDown(p *process, hurry <-chan struct{}) error {
	select {
	case <-p.done:
		return exitError(p.err)
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGINT) // one that just ended is what we want
	timer := time.NewTimer(fastWait)
	defer timer.Stop()
	select {
	case <-p.done:
		return exitError(p.err)
	case <-hurry:
	case <-timer.C:
	}
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	if !p.endsWithin(immediateWait) {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	return errors.New("postgres did not stop in time and was ended at once; the next start recovers from its log")
}

// exitError says how a server ended; one that was asked to ends without error.
func exitError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("postgres ended: %w", err)
}

// openLog opens the server's log. A large one is put aside first.
func openLog(name string) (*os.File, error) {
	if info, err := os.Stat(name); err == nil && info.Size() > maxLog {
		if err := os.Rename(name, name+".1"); err != nil {
			return nil, fmt.Errorf("rotate postgres log: %w", err)
		}
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open postgres log: %w", err)
	}
	return f, nil
}

// trimLog keeps the log of a running server small. The server appends, so a
// file that is cut under it goes on from the start.
func trimLog(name string) error {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() <= maxLog {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(name + ".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := copyFile(name, name+".1"); err != nil {
		return err
	}
	return os.Truncate(name, 0)
}

// sayings returns what the server wrote into its log since a position, the last
// of it, as an error.
func sayings(name string, from int64) error {
	const most = 2000
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil {
		from = max(from, info.Size()-most)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, from, most))
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return err
	}
	return fmt.Errorf("postgres said: %s", bytes.TrimSpace(text))
}
