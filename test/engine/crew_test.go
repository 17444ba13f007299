//go:build engine || soak

package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

// diary keeps what simulated runners saw.
type diary struct {
	mu   sync.Mutex
	seen []sighting
	more chan struct{}
}

func newDiary() *diary { return &diary{more: make(chan struct{}, 1)} }

func (d *diary) note(s sighting) {
	d.mu.Lock()
	d.seen = append(d.seen, s)
	d.mu.Unlock()
	select {
	case d.more <- struct{}{}:
	default:
	}
}

// all returns the sightings of a kind, in the order in which they came; "" is any.
func (d *diary) all(what string) (found []sighting) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.seen {
		if what == "" || s.What == what {
			found = append(found, s)
		}
	}
	return found
}

// of returns the first sighting of a kind about a task.
func (d *diary) of(task corp.TaskID, what string) (sighting, bool) {
	for _, s := range d.all(what) {
		if s.Task == task {
			return s, true
		}
	}
	return sighting{}, false
}

// last returns the last sighting of a kind about a task.
func (d *diary) last(task corp.TaskID, what string) (last sighting, ok bool) {
	for _, s := range d.all(what) {
		if s.Task == task {
			last, ok = s, true
		}
	}
	return last, ok
}

// await waits for a sighting about a task.
func (d *diary) await(t testing.TB, task corp.TaskID, what string) (found sighting) {
	t.Helper()
	until(t, patience, what+" of "+task.String(), func() bool {
		s, ok := d.of(task, what)
		found = s
		return ok
	})
	return found
}

// crew starts a simulated runner in this process, until the test ends or stop is
// called: then it is gone without a word.
func (s *site) crew(name, key string, slots int, d *diary, with ...func(*sim)) (stop func()) {
	s.t.Helper()
	runner := newSim(name, key, slots, s.urls(), d.note)
	for _, w := range with {
		w(runner)
	}
	return s.live(runner)
}

// live has a simulated runner serve in this process.
func (s *site) live(runner *sim) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var life sync.WaitGroup
	life.Go(func() { runner.run(ctx) })
	stop = func() {
		cancel()
		life.Wait()
	}
	s.t.Cleanup(stop)
	return stop
}

// simOrders is what a simulated runner in a process of its own is told.
type simOrders struct {
	Name    string
	Key     string
	Slots   int
	Labels  []string
	Servers []string
	Diary   string // file for what it sees, a JSON line each
}

// simProcess is the life of such a process.
func simProcess(text string) int {
	var orders simOrders
	if err := json.Unmarshal([]byte(text), &orders); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 2
	}
	file, err := os.OpenFile(orders.Diary, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var mu sync.Mutex
	runner := newSim(orders.Name, orders.Key, orders.Slots, orders.Servers, func(s sighting) {
		line, _ := json.Marshal(s)
		mu.Lock()
		defer mu.Unlock()
		_, _ = file.Write(append(line, '\n'))
	})
	runner.labels = orders.Labels
	runner.run(context.Background())
	return 0
}

// hand is a simulated runner in a process of its own.
type hand struct {
	t     testing.TB
	name  string
	file  string
	cmd   *exec.Cmd
	ended chan struct{}
}

// hand starts a simulated runner in a process of its own, which can be killed
// and stopped like any.
func (s *site) hand(name, key string, slots int) *hand {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	h := &hand{t: s.t, name: name, file: filepath.Join(folder(s.t), name), ended: make(chan struct{})}
	orders, err := json.Marshal(simOrders{Name: name, Key: key, Slots: slots, Servers: s.urls(), Diary: h.file})
	if err != nil {
		s.t.Fatal(err)
	}
	h.cmd = exec.Command(self)
	h.cmd.Env = append(cleanEnv(s.pgDir), envSim+"="+string(orders))
	h.cmd.Stderr = os.Stderr
	if err := spawn(h.cmd); err != nil {
		s.t.Fatal(err)
	}
	go func() { _ = h.cmd.Wait(); close(h.ended) }()
	s.t.Cleanup(h.kill)
	return h
}

func (h *hand) kill() {
	_ = h.cmd.Process.Signal(syscall.SIGKILL)
	<-h.ended
}

func (h *hand) signal(sig syscall.Signal) { _ = h.cmd.Process.Signal(sig) }

// diary reads what the process has seen so far.
func (h *hand) diary() *diary {
	h.t.Helper()
	d := newDiary()
	file, err := os.Open(h.file)
	if err != nil {
		return d
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s sighting
		if json.Unmarshal(lines.Bytes(), &s) == nil { // the last line of a killed process may be half
			d.seen = append(d.seen, s)
		}
	}
	return d
}

// await waits until the process has seen something of a task.
func (h *hand) await(task corp.TaskID, what string) (found sighting) {
	h.t.Helper()
	until(h.t, patience, h.name+" to see "+what, func() bool {
		s, ok := h.diary().of(task, what)
		found = s
		return ok
	})
	return found
}

// reaches submits more tasks than a workspace may run at a time, and waits until
// exactly so many are held, at the most: slots neither leaked nor grew.
func (s *site) reaches(w *tenant, limit int) (took time.Duration) {
	s.t.Helper()
	d := newDiary()
	stop := s.crew("filler-"+randomName(), s.poolKey, 2*limit+2, d)
	ids := w.submitMany(limit+3, work("ms=600000"))
	began := time.Now()
	until(s.t, patience, fmt.Sprintf("workspace %s to have %d runs in hand", w.Slug, limit), func() bool { return s.held(w) >= limit })
	took = time.Since(began)
	window(s.t, sweep+sweep/2) // a slot too many would be given by now
	if held := s.held(w); held != limit {
		s.t.Errorf("workspace %s holds %d runs, its limit is %d", w.Slug, held, limit)
	}
	for _, id := range ids {
		w.cancel(id)
	}
	s.awaitFinal(patience, ids...)
	stop()
	return took
}
