package gateway

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// known remembers answers of the database for a short while, failures too, so
// that a call costs no query and a guessed key costs at most one. It is bounded.
type known[K comparable, V any] struct {
	good, bad time.Duration // how long an answer and a refusal are believed
	flight    singleflight.Group

	mu    sync.Mutex
	items map[K]item[V]
}

type item[V any] struct {
	value V
	err   error
	until time.Time
}

// maxKnown is how many answers one cache remembers.
const maxKnown = 10_000

func newKnown[K comparable, V any](good, bad time.Duration) *known[K, V] {
	return &known[K, V]{good: good, bad: bad, items: map[K]item[V]{}}
}

// get returns what is known of key, or asks. name is the key as a text. Callers
// that ask for the same thing at the same time share one question, which goes on
// if one of them leaves. remember says which failures are answers.
func (k *known[K, V]) get(ctx context.Context, key K, name string, remember func(error) bool, ask func(context.Context) (V, error)) (V, error) {
	if it, ok := k.peek(key); ok {
		return it.value, it.err
	}
	answer := k.flight.DoChan(name, func() (any, error) {
		if it, ok := k.peek(key); ok { // somebody asked between the look above and here
			return it.value, it.err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseTime)
		defer cancel()
		v, err := ask(ctx)
		if err == nil || remember(err) {
			k.put(key, v, err)
		}
		return v, err
	})
	select {
	case r := <-answer:
		v, _ := r.Val.(V)
		return v, r.Err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

func (k *known[K, V]) peek(key K) (item[V], bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	it, ok := k.items[key]
	return it, ok && time.Now().Before(it.until)
}

func (k *known[K, V]) put(key K, v V, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.items) >= maxKnown {
		k.trim()
	}
	believed := k.good
	if err != nil {
		believed = k.bad
	}
	k.items[key] = item[V]{v, err, time.Now().Add(believed)}
}

// trim makes room: what is out of date goes, and if that is not enough, all.
func (k *known[K, V]) trim() {
	now := time.Now()
	for key, it := range k.items {
		if now.After(it.until) {
			delete(k.items, key)
		}
	}
	if len(k.items) >= maxKnown {
		clear(k.items)
	}
}

// drop forgets every answer that is says yes to.
func (k *known[K, V]) drop(is func(V) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, it := range k.items {
		if it.err == nil && is(it.value) {
			delete(k.items, key)
		}
	}
}
