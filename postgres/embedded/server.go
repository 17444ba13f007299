package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genericcorp/corp/postgres/embedded/bundle"
)

// Server is a running cluster. Its methods may be called from any goroutine.
type Server struct {
	folder   folder
	socket   string // folder of the socket
	as       account
	binaries binaries
	durable  bool
	major    int
	settings map[string]string
	logger   *slog.Logger
	lock     *os.File

	end      context.CancelFunc // asks the supervisor to stop the server
	hurry    chan struct{}      // closed when it must do so at once
	hurried  sync.Once
	done     chan struct{} // closed when the supervisor has ended
	stopErr  error         // how the server stopped; read it after done
	pid      atomic.Int64
	restarts atomic.Int64
}

// Start brings up the cluster in cfg.Dir, made first if there is none, and
// returns when its database answers. ctx bounds the start only; the server runs
// until Stop, or until this program is gone.
//
// Errors that a person can do something about are of type *corp.Error: a wrong
// configuration or folder is KindInvalid, a folder in use KindConflict, missing
// programs KindUnavailable.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Major != 0 && cfg.Major != Major {
		return start(ctx, cfg, finder{above: above()})
	}
	return start(ctx, cfg, finder{archive: bundle.Embedded(), system: systemFolders(), above: above()})
}

func start(ctx context.Context, cfg Config, programs finder) (_ *Server, err error) {
	began := time.Now()
	cfg, err = cfg.complete()
	if err != nil {
		return nil, err
	}
	s := &Server{
		folder: folder(cfg.Dir), durable: cfg.Durable, major: cfg.Major, settings: cfg.Settings, logger: cfg.Logger,
		hurry: make(chan struct{}), done: make(chan struct{}),
	}
	if s.lock, err = s.folder.claim(os.Geteuid() == 0); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.lock.Close()
			err = explain(cfg.Dir, err)
		}
	}()
	if err := s.prepare(ctx, cfg, programs); err != nil {
		return nil, err
	}
	p, err := s.launch(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.furnish(ctx); err != nil {
		return nil, errors.Join(err, shutDown(p, nil))
	}
	s.pid.Store(int64(p.pid()))
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	s.end = end
	go s.supervise(life, p)
	s.logger.Info("postgres is ready", "version", s.Version(), "source", string(s.Source()), "dir", string(s.folder),
		"duration_ms", time.Since(began).Milliseconds())
	return s, nil
}

// prepare does all that comes before the server runs.
func (s *Server) prepare(ctx context.Context, cfg Config, programs finder) (err error) {
	if s.as, err = chooseAccount(cfg.RunAs, s.folder.data()); err != nil {
		return err
	}
	if s.as.drop {
		if err := s.folder.letThrough(); err != nil {
			return fmt.Errorf("open folder: %w", err)
		}
	}
	if err := s.as.reach(string(s.folder)); err != nil {
		return err
	}
	programs.major, programs.binDir, programs.as, programs.work, programs.durable = cfg.Major, cfg.BinDir, s.as, cfg.Dir, cfg.Durable
	if programs.store = cfg.Cache; cfg.Cache == "" {
		programs.store = cfg.Dir
	}
	if s.binaries, err = programs.find(ctx); err != nil {
		return err
	}
	if s.socket, err = socketDir(s.folder, s.as); err != nil {
		return err
	}
	// An orphan may still run programs that would be cleaned away below.
	if err := s.vacate(); err != nil {
		return err
	}
	if cfg.Cache == "" {
		if err := programs.forget(s.binaries); err != nil {
			s.logger.Warn("old programs could not be removed", "error", err)
		}
	}
	c := cluster{major: cfg.Major, folder: s.folder, binaries: s.binaries, as: s.as, durable: cfg.Durable, cache: cfg.Cache}
	return c.ensure(ctx)
}

// Stop shuts the server down: sessions are ended and everything is written. If
// ctx ends first, or after 30 seconds, it is ended at once, with an error; no
// committed row is lost then either. When Stop returns no process is left and
// the folder is free. Further calls return the same.
func (s *Server) Stop(ctx context.Context) error {
	s.end()
	select {
	case <-s.done:
	case <-ctx.Done():
		s.hurried.Do(func() { close(s.hurry) })
		<-s.done
	}
	return s.stopErr
}

// Version is the version of PostgreSQL, such as "18.4".
func (s *Server) Version() string { return s.binaries.version.String() }

// Source says where PostgreSQL's programs come from.
func (s *Server) Source() Source { return s.binaries.source }

// Pid is the process id of the server; 0 while it is being started again.
func (s *Server) Pid() int { return int(s.pid.Load()) }

// Restarts counts how often the server died and was started again.
func (s *Server) Restarts() int { return int(s.restarts.Load()) }
