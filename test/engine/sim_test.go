//go:build engine || soak

package engine

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// sim is a simulated runner: it speaks the runner's protocol and carries out
// what a task's prompt tells it, without an agent. What it saw goes to note.
type sim struct {
	name    string
	slots   int
	labels  []string
	note    func(sighting)
	servers []*client.Client
	skew    time.Duration // its wall clock is wrong by so much
	idle    bool          // it beats and finishes, and asks for nothing

	mu     sync.Mutex
	at     int // the server that it speaks to
	id     corp.RunnerID
	agreed corp.Registered
	leases map[corp.RunID]*simRun
	freed  chan struct{}
	secret string // its instance
}

// sighting is one thing that a simulated runner saw or did.
type sighting struct {
	At      time.Time     `json:"at"`
	Sent    time.Time     `json:"sent,omitzero"` // when what was answered had been asked
	Runner  string        `json:"runner"`
	What    string        `json:"what"` // offer, acked, beat, lost, stop, finished, refused, gave_up
	Run     corp.RunID    `json:"run"`
	Task    corp.TaskID   `json:"task"`
	Epoch   int64         `json:"epoch"`
	Attempt int           `json:"attempt"`
	Detail  string        `json:"detail,omitempty"`
	State   corp.RunState `json:"state,omitempty"`
	Lease   corp.Lease    `json:"-"`
	Offer   *corp.Offer   `json:"-"`
	Verdict string        `json:"verdict,omitempty"`
}

// simRun is a run that a simulated runner holds.
type simRun struct {
	offer   corp.Offer
	stop    chan struct{} // closed when it is told to stop, or has lost the run
	once    sync.Once
	lost    bool
	acked   bool
	renewed time.Time // when the last good beat was sent
}

func (r *simRun) end() { r.once.Do(func() { close(r.stop) }) }

func newSim(name, key string, slots int, urls []string, note func(sighting)) *sim {
	s := &sim{name: name, slots: slots, note: note, leases: map[corp.RunID]*simRun{}, freed: make(chan struct{}, 1), secret: randomName()}
	for _, u := range urls {
		transport := &http.Transport{MaxIdleConnsPerHost: 64, ResponseHeaderTimeout: 2 * pollWait}
		s.servers = append(s.servers, client.New(u, key, client.Options{HTTP: &http.Client{Transport: transport}, UserAgent: "sim/" + name}))
	}
	return s
}

// run serves until ctx ends, as a process that is killed: it says no goodbye.
func (s *sim) run(ctx context.Context) {
	if !s.register(ctx) {
		return
	}
	var parts sync.WaitGroup
	parts.Go(func() { s.beats(ctx) })
	if !s.idle {
		parts.Go(func() { s.polls(ctx) })
	}
	parts.Wait()
}

func (s *sim) server() *client.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.servers[s.at%len(s.servers)]
}

// elsewhere turns to the next server, unless somebody did so already.
func (s *sim) elsewhere(failed *client.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.servers[s.at%len(s.servers)] == failed {
		s.at++
	}
}

func (s *sim) registration() corp.Registration {
	return corp.Registration{
		Protocols: []int{corp.ProtocolVersion}, Name: s.name, Instance: s.secret, Slots: s.slots, Labels: s.labels,
		Runtimes: []string{corp.RuntimeBuiltin}, Sandbox: "none", Version: "sim",
	}
}

func (s *sim) register(ctx context.Context) bool {
	for {
		c := s.server()
		got, err := c.Register(ctx, s.registration())
		if err == nil {
			s.mu.Lock()
			s.id, s.agreed = got.RunnerID, got
			s.mu.Unlock()
			return true
		}
		s.elsewhere(c)
		if !pauseFor(ctx, 50*time.Millisecond) {
			return false
		}
	}
}

// trouble turns to another server after an error of the moment, and registers
// where the runner is not known.
func (s *sim) trouble(ctx context.Context, c *client.Client, err error) {
	if corp.KindOf(err) == corp.KindNotFound {
		if got, err := c.Register(ctx, s.registration()); err == nil {
			s.mu.Lock()
			s.id = got.RunnerID
			s.mu.Unlock()
			return
		}
	}
	s.elsewhere(c)
	pauseFor(ctx, 40*time.Millisecond)
}

func (s *sim) free() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots - len(s.leases)
}

func (s *sim) polls(ctx context.Context) {
	for seq := int64(1); ctx.Err() == nil; {
		free := s.free()
		if free <= 0 {
			select {
			case <-s.freed:
			case <-ctx.Done():
			}
			continue
		}
		c, sent := s.server(), time.Now()
		answer, err := c.Poll(ctx, s.id, corp.Poll{Seq: seq, Free: free, WaitMS: pollWait.Milliseconds()})
		if err != nil {
			s.trouble(ctx, c, err)
			continue
		}
		seq++
		for _, offer := range answer.Offers {
			s.take(ctx, offer, sent)
		}
	}
}

// take begins a run, and forgets an older lease of the same one.
func (s *sim) take(ctx context.Context, offer corp.Offer, sent time.Time) {
	r := &simRun{offer: offer, stop: make(chan struct{})}
	s.mu.Lock()
	if old := s.leases[offer.RunID]; old != nil {
		if old.offer.Epoch >= offer.Epoch {
			s.mu.Unlock()
			return
		}
		old.lost = true
		old.end()
	}
	s.leases[offer.RunID] = r
	s.mu.Unlock()
	s.tell(r, sighting{What: "offer", Sent: sent})
	go func() {
		s.carry(ctx, r)
		s.mu.Lock()
		if s.leases[offer.RunID] == r {
			delete(s.leases, offer.RunID)
		}
		s.mu.Unlock()
		select {
		case s.freed <- struct{}{}:
		default:
		}
	}()
}

func (s *sim) tell(r *simRun, what sighting) {
	what.At, what.Runner = time.Now(), s.name
	what.Run, what.Task, what.Epoch, what.Attempt = r.offer.RunID, r.offer.TaskID, r.offer.Epoch, r.offer.Attempt
	what.Lease, what.Offer = r.offer.Lease, &r.offer
	s.note(what)
}

// carry does with a run what its prompt orders: ms is how long, entries how
// many, end and reason how it ends, until up to which attempt it ends so, noack
// that it is not taken up.
func (s *sim) carry(ctx context.Context, r *simRun) {
	orders, _ := url.ParseQuery(r.offer.Spec.Prompt)
	number := func(name string) int { n, _ := strconv.Atoi(orders.Get(name)); return n }
	if number("noack") >= r.offer.Attempt && orders.Has("noack") && r.offer.Epoch == 1 {
		return
	}
	sent := time.Now()
	if err := s.repeat(ctx, func(c *client.Client) error { return c.Ack(ctx, r.offer.Lease) }); err != nil {
		s.tell(r, sighting{What: "refused", Detail: "ack: " + err.Error()})
		return
	}
	s.mu.Lock()
	r.acked, r.renewed = true, sent
	s.mu.Unlock()
	s.tell(r, sighting{What: "acked", Sent: sent})
	s.entries(ctx, r, number("entries"))
	timer := time.NewTimer(time.Duration(number("ms")) * time.Millisecond)
	defer timer.Stop()
	outcome := corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted, Detail: "Done."}
	if end := orders.Get("end"); end != "" && (!orders.Has("until") || r.offer.Attempt <= number("until")) {
		outcome = corp.Outcome{State: corp.RunState(end), Reason: corp.Reason(orders.Get("reason")), Detail: "Attempt " + strconv.Itoa(r.offer.Attempt) + " went wrong."}
	}
	select {
	case <-timer.C:
	case <-r.stop:
		outcome = corp.Outcome{State: corp.RunCancelled, Reason: corp.ReasonCancelled, Detail: "Told to stop."}
	case <-ctx.Done():
		return
	}
	s.finish(ctx, r, outcome)
}

func (s *sim) entries(ctx context.Context, r *simRun, n int) {
	if n == 0 {
		return
	}
	batch := corp.EntryBatch{Lease: r.offer.Lease}
	for i := range n {
		batch.Entries = append(batch.Entries, corp.Entry{Index: int64(i), At: time.Now().Add(s.skew), Kind: corp.EntryMessage, Text: "line " + strconv.Itoa(i)})
	}
	err := s.repeat(ctx, func(c *client.Client) error { _, err := c.ReportEntries(ctx, batch); return err })
	if err != nil && ctx.Err() == nil {
		s.tell(r, sighting{What: "refused", Detail: "entries: " + err.Error()})
	}
}

func (s *sim) finish(ctx context.Context, r *simRun, outcome corp.Outcome) {
	s.mu.Lock()
	lost := r.lost
	s.mu.Unlock()
	if lost {
		return
	}
	sent := time.Now()
	var ended corp.Run
	err := s.repeat(ctx, func(c *client.Client) (err error) {
		ended, err = c.Finish(ctx, corp.Finish{Lease: r.offer.Lease, Outcome: outcome})
		return err
	})
	switch {
	case err == nil:
		s.tell(r, sighting{What: "finished", Sent: sent, State: ended.State})
	case ctx.Err() == nil:
		s.tell(r, sighting{What: "refused", Detail: "finish: " + err.Error()})
	}
}

// repeat does something at one server after the other while the trouble is of
// the moment, as long as a lease lives.
func (s *sim) repeat(ctx context.Context, do func(*client.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, 4*ttl)
	defer cancel()
	for {
		c := s.server()
		err := do(c)
		if err == nil || !passing(err) || ctx.Err() != nil {
			return err
		}
		s.elsewhere(c)
		if !pauseFor(ctx, 30*time.Millisecond) {
			return err
		}
	}
}

func (s *sim) beats(ctx context.Context) {
	for wait := heartbeat; pauseFor(ctx, wait); {
		wait = heartbeat
		if err := s.beat(ctx); err != nil && ctx.Err() == nil {
			wait = heartbeat / 5
		}
		s.expire()
	}
}

// expire drops the leases that the runner itself must take for over.
func (s *sim) expire() {
	s.mu.Lock()
	var over []*simRun
	for _, r := range s.leases {
		if r.acked && !r.lost && time.Since(r.renewed) > ttl-margin {
			r.lost = true
			over = append(over, r)
		}
	}
	s.mu.Unlock()
	for _, r := range over {
		s.tell(r, sighting{What: "gave_up"})
		r.end()
	}
}

func (s *sim) beat(ctx context.Context) error {
	s.mu.Lock()
	runs := map[corp.RunID]*simRun{}
	ask := corp.Beat{Free: s.slots - len(s.leases), Leases: []corp.Lease{}}
	for id, r := range s.leases {
		if r.acked && !r.lost {
			runs[id] = r
			ask.Leases = append(ask.Leases, r.offer.Lease)
		}
	}
	s.mu.Unlock()
	c, sent := s.server(), time.Now()
	limit, cancel := context.WithTimeout(ctx, (ttl-margin)/2)
	defer cancel()
	answer, err := c.Beat(limit, s.id, ask)
	if err != nil {
		s.trouble(ctx, c, err)
		return err
	}
	for _, v := range answer.Verdicts {
		if r := runs[v.RunID]; r != nil {
			s.hear(r, v, sent)
		}
	}
	return nil
}

func (s *sim) hear(r *simRun, v corp.Verdict, sent time.Time) {
	s.mu.Lock()
	switch v.Say {
	case corp.VerdictOK, corp.VerdictStop:
		r.renewed = sent
	default:
		r.lost = true
	}
	s.mu.Unlock()
	what := map[string]string{corp.VerdictOK: "beat", corp.VerdictStop: "stop", corp.VerdictLost: "lost"}[v.Say]
	s.tell(r, sighting{What: what, Sent: sent, Verdict: v.Say, Detail: string(v.Reason)})
	if v.Say != corp.VerdictOK {
		r.end()
	}
}
