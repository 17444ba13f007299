package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"time"
)

const (
	// socketPathMax is what fits into a unix socket's address on every system.
	socketPathMax = 100

	headerTimeout = 30 * time.Second
	dialTimeout   = 10 * time.Second
	idleTimeout   = 2 * time.Minute

	// maxInbound is how many connections of one sandbox are open at a time; more
	// wait. Each costs the runner, whose descriptors all runs share, two.
	maxInbound = 256
	// maxHeaderBytes is what the gateway itself takes.
	maxHeaderBytes = 64 << 10
)

// Gateway is the outer end of a sandbox's way out: it takes HTTP from the unix
// socket and passes it to the runner's gateways and to nobody else, whatever the
// request says.
// Bodies and streams pass at once and unchanged, and no header is added.
type Gateway struct {
	listener net.Listener
	dir      *os.File // keeps a long socket path short, see listenUnix
	server   *http.Server
}

// OpenGateway starts to listen on socket, a path in the run's own folder, with
// mode 0600. What a sandbox sends is answered once Run is called.
func OpenGateway(socket string, ways *Ways, logger *slog.Logger) (*Gateway, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open gateway socket: %w", err)
	}
	g := &Gateway{}
	if err := g.listenUnix(socket); err != nil {
		return nil, fmt.Errorf("open gateway socket: %w", err)
	}
	if err := errors.Join(os.Chmod(socket, 0o600), give(socket, Bubblewrap)); err != nil {
		return nil, errors.Join(fmt.Errorf("open gateway socket: %w", err), g.close())
	}
	g.server = &http.Server{
		Handler:           passOn(ways, logger),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	return g, nil
}

// Run serves until ctx ends, then cuts what is still open: whoever talks
// through it is being stopped anyway.
func (g *Gateway) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = g.server.Close() })
	defer stop()
	err := g.server.Serve(g.listener)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if err := errors.Join(err, g.close()); err != nil {
		return fmt.Errorf("run sandbox gateway: %w", err)
	}
	return nil
}

func (g *Gateway) close() error {
	err := g.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if g.dir != nil {
		err = errors.Join(err, g.dir.Close())
		g.dir = nil
	}
	return err
}

// listenUnix listens on path. A path that is too long for a socket address is
// reached through the folder's descriptor, which Linux offers under /proc.
func (g *Gateway) listenUnix(path string) error {
	address := path
	if len(path) > socketPathMax {
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return err
		}
		g.dir = dir
		address = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", address)
	if err != nil {
		if g.dir != nil {
			err = errors.Join(err, g.dir.Close())
		}
		return err
	}
	g.listener = newBounded(listener, maxInbound)
	return nil
}

func passOn(ways *Ways, logger *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.RawQuery = r.In.URL.RawQuery // byte for byte, even where it does not parse
		},
		Transport:     wayfarer{ways},
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				logger.WarnContext(r.Context(), "gateway did not answer a sandbox", "error", err)
			}
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte(`{"title":"Bad Gateway","status":502,"code":"unavailable","detail":"The gateway did not answer."}` + "\n"))
		},
	}
}
