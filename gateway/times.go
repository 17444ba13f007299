package gateway

import "time"

// Times are the durations that the gateway goes by. All are configurable, so
// that tests need not wait.
type Times struct {
	Identity     time.Duration // how long a run key's identity is believed: a run that ended can call for so long
	Provider     time.Duration // how long a provider and its key are believed
	Prices       time.Duration // how often the price book is read again
	Budget       time.Duration // how old a budget's limit may be when a call begins
	Silence      time.Duration // after so long without the database, allowances are looked at before use; less than what makes a server count as dead
	Wait         time.Duration // how long a call waits for reservations in flight to free enough
	Retry        time.Duration // how often such a call asks again, if nothing wakes it
	Idle         time.Duration // an allowance not used for so long is given back
	Flush        time.Duration // from the end of a call to its row in the database
	Sweep        time.Duration // how often idle things are looked for
	BodyRead     time.Duration // for a client to send its request
	ClientStall  time.Duration // a client that takes nothing for so long counts as gone
	UpstreamIdle time.Duration // a vendor that sends nothing for so long counts as gone
	Drain        time.Duration // how long an answer is read on for the count after its client left; then the vendor is hung up on
	Shutdown     time.Duration // for open calls to end when the gateway stops
}

// DefaultTimes returns what an installation goes by.
func DefaultTimes() Times {
	return Times{
		Identity: 2 * time.Second, Provider: 3 * time.Second, Prices: 30 * time.Second, Budget: 2 * time.Second,
		Silence: 10 * time.Second,
		Wait:    30 * time.Second, Retry: 250 * time.Millisecond, Idle: 10 * time.Second,
		Flush: 50 * time.Millisecond, Sweep: time.Second,
		BodyRead: time.Minute, ClientStall: 2 * time.Minute, UpstreamIdle: 10 * time.Minute,
		Drain: 20 * time.Second, Shutdown: 20 * time.Second,
	}
}

// or fills what is zero from other.
func (t Times) or(other Times) Times {
	for _, f := range []struct{ mine, theirs *time.Duration }{
		{&t.Identity, &other.Identity},
		{&t.Provider, &other.Provider},
		{&t.Prices, &other.Prices},
		{&t.Budget, &other.Budget},
		{&t.Silence, &other.Silence},
		{&t.Wait, &other.Wait},
		{&t.Retry, &other.Retry},
		{&t.Idle, &other.Idle},
		{&t.Flush, &other.Flush},
		{&t.Sweep, &other.Sweep},
		{&t.BodyRead, &other.BodyRead},
		{&t.ClientStall, &other.ClientStall},
		{&t.UpstreamIdle, &other.UpstreamIdle},
		{&t.Drain, &other.Drain},
		{&t.Shutdown, &other.Shutdown},
	} {
		if *f.mine == 0 {
			*f.mine = *f.theirs
		}
	}
	return t
}

const (
	maxBody       = 32 << 20         // of a request, in bytes: the vendor's own limit
	databaseTime  = 10 * time.Second // for one statement that must not be left in doubt
	maxDrain      = 16 << 20         // read on for the count after the client left, in bytes
	maxUnflushed  = 10_000           // calls that wait for the database before new ones are refused; half as many of one workspace
	maxOpenPerRun = 64               // calls of one run at a time
	maxHeldPerRun = 4 * maxBody      // of their requests, in bytes
	maxBatch      = 200              // calls in one transaction
	leastOutput   = 1_024            // tokens; a cap below this helps nobody
	chunkCalls    = 4                // an allowance is taken for so many calls like this one,
	chunkParts    = 20               // but for no more than this part of the limit
)
