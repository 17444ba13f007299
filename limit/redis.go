package limit

import (
	"context"
	_ "embed"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/genericcorp/corp"
)

// Redis counts in a Redis or Valkey that several servers share. Its clock is the
// one there is: were each server's own taken, the one whose clock is ahead would
// use up what the others' callers have.
type Redis struct {
	client  redis.UniversalClient
	timeout time.Duration
	now     func() time.Time // nil: Redis's own
}

var (
	_ Store   = (*Redis)(nil)
	_ Backoff = (*Redis)(nil)
)

// defaultTimeout is how long an answer may take: what a request waits at most
// before it is counted in the process instead.
const defaultTimeout = 250 * time.Millisecond

// prefix is before every key, for a Redis that others use too.
const prefix = "corp:"

// Option changes how Redis is used.
type Option func(*Redis)

// WithTimeout says how long an answer may take, a new connection included.
func WithTimeout(d time.Duration) Option { return func(r *Redis) { r.timeout = d } }

// WithClock counts by another clock than Redis's, which must be the same for all.
func WithClock(now func() time.Time) Option { return func(r *Redis) { r.now = now } }

// NewRedis uses the server of a URL such as redis://user:password@host:6379/0,
// rediss:// for TLS or unix:// for a socket; further hosts in addr parameters make
// it a cluster. It does not connect: Ping does. A URL that is none is invalid.
func NewRedis(text string, options ...Option) (*Redis, error) {
	r := &Redis{timeout: defaultTimeout}
	for _, o := range options {
		o(r)
	}
	if u, err := url.Parse(text); err == nil && u.Query().Has("addr") {
		c, err := redis.ParseClusterURL(text)
		if err != nil {
			return nil, badURL()
		}
		c.DialTimeout, c.ReadTimeout, c.WriteTimeout, c.PoolTimeout = r.timeout, r.timeout, r.timeout, r.timeout
		c.MaxRetries, c.ContextTimeoutEnabled = -1, true
		r.client = redis.NewClusterClient(c)
		return r, nil
	}
	c, err := redis.ParseURL(text)
	if err != nil {
		return nil, badURL()
	}
	c.DialTimeout, c.ReadTimeout, c.WriteTimeout, c.PoolTimeout = r.timeout, r.timeout, r.timeout, r.timeout
	// A repeat could take twice; and nobody waits longer than the timeout.
	c.MaxRetries, c.DialerRetries, c.ContextTimeoutEnabled = -1, 1, true
	r.client = redis.NewClient(c)
	return r, nil
}

// badURL says nothing of the URL, which may hold a password.
func badURL() error {
	return corp.Invalid("redis-url", "That is not the URL of a Redis.", "Write it like redis://user:password@host:6379/0.")
}

// Close ends the connections.
func (r *Redis) Close() error { return r.client.Close() }

// Ping asks whether Redis answers.
func (r *Redis) Ping(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return unavailable(ctx, r.client.Ping(within).Err())
}

// The client's own log goes to nobody's logger; what it says is in the errors.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(silent{}) }

//go:embed take.lua
var takeText string

//go:embed fail.lua
var failText string

var (
	takeScript = redis.NewScript(takeText)
	failScript = redis.NewScript(failText)
)

// Take takes what is asked of every limit, or of none: one script, one round trip.
func (r *Redis) Take(ctx context.Context, asks []Ask) ([]State, error) {
	live, err := counted(asks)
	if err != nil {
		return nil, err
	}
	if len(live) == 0 {
		return answer(asks, nil), nil
	}
	keys, args := make([]string, len(live)), make([]any, 1, 1+3*len(live))
	args[0] = r.clock()
	for i, a := range live {
		keys[i] = prefix + a.Key
		args = append(args, a.Policy.tolerance(), a.Cost*a.Policy.interval())
	}
	within, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	aheads, err := takeScript.Run(within, r.client, keys, args...).Int64Slice()
	if err == nil && len(aheads) != len(live) {
		err = fmt.Errorf("%d answers to %d limits", len(aheads), len(live))
	}
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	return answer(asks, func(i int) int64 { return aheads[i] }), nil
}

// Wait returns how long nothing may be tried under this key.
func (r *Redis) Wait(ctx context.Context, key string) (time.Duration, error) {
	return r.failures(ctx, key, "wait")
}

// Fail notes a failure.
func (r *Redis) Fail(ctx context.Context, key string) error {
	_, err := r.failures(ctx, key, "fail")
	return err
}

// Clear notes a success.
func (r *Redis) Clear(ctx context.Context, key string) error {
	within, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return unavailable(ctx, r.client.Del(within, prefix+pauses+key).Err())
}

func (r *Redis) failures(ctx context.Context, key, do string) (time.Duration, error) {
	within, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	us, err := failScript.Run(within, r.client, []string{prefix + pauses + key}, r.clock(), do, longestPause.Microseconds(), forgetAfter.Microseconds()).Int64()
	return time.Duration(us) * time.Microsecond, unavailable(ctx, err)
}

// clock is the first argument of the scripts: microseconds, or nothing.
func (r *Redis) clock() string {
	if r.now == nil {
		return ""
	}
	return strconv.FormatInt(r.now().UnixMicro(), 10)
}

// unavailable says of any failure of Redis that the counts cannot be reached. The
// caller's own end is no failure of Redis.
func unavailable(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return &corp.Error{
		Kind: corp.KindUnavailable, Code: "limits_unavailable", Err: err,
		Message: "The store of the limits does not answer.", Hint: "Try again in a moment.",
	}
}
