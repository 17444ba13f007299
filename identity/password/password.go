// Package password makes and verifies the hashes that passwords are stored as.
//
// New hashes are argon2id, as PHC strings. Hashes of bcrypt, which came from
// other systems, are verified and asked to be replaced. A password is taken
// exactly as it comes: never trimmed, cut or normalised.
//
// Hashing costs tens of megabytes and milliseconds, so at most half of the
// processors compute one at a time: the others are everybody else's. The package
// stores nothing and refuses what is in the list of common passwords.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"
)

// What a password may be, in bytes.
const (
	MinBytes = 8
	MaxBytes = 1024
)

// ErrHash says that what is stored is no hash that this package knows.
var ErrHash = errors.New("the stored password hash is of no known kind")

// Cost is what one hash costs.
type Cost struct {
	Memory uint32 // KiB
	Passes uint32
	Lanes  uint8
}

// Default is what OWASP's ASVS 5 (appendix C) asks for at the least.
var Default = Cost{Memory: 46 * 1024, Passes: 1, Lanes: 1}

const (
	saltBytes = 16
	keyBytes  = 32
	// What a stored hash may ask for: a row that somebody put there must not
	// take the server's memory or its time.
	maxMemory    = 256 * 1024
	maxPasses    = 16
	maxLanes     = 16
	maxBcrypt    = 16
	bcryptBytes  = 72 // what bcrypt reads; the library compares the rest away
	maxHashBytes = 512
)

// Hasher hashes with one cost. It is safe for concurrent use.
type Hasher struct {
	cost   Cost
	dummy  string
	places *semaphore.Weighted
	derive func(password, salt []byte, passes, memory uint32, lanes uint8, bytes uint32) []byte
}

// Places is how many hashes are computed at a time: one for every two processors
// that Go uses. With one for each, a flood of sign-ins made everybody else wait 32 ms
// and more for an answer that now takes 6 (the medians of bench/login).
func Places() int { return (runtime.GOMAXPROCS(0) + 1) / 2 }

// New makes a hasher, with places of its own.
func New(cost Cost) *Hasher {
	h := &Hasher{cost: cost, places: semaphore.NewWeighted(int64(Places())), derive: argon2.IDKey}
	h.dummy = h.hash([]byte(rand.Text()))
	return h
}

// Hash returns what to store for a password. It returns ctx's error when no
// place came free.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if err := h.places.Acquire(ctx, 1); err != nil {
		return "", fmt.Errorf("wait to hash a password: %w", err)
	}
	defer h.places.Release(1)
	return h.hash([]byte(password)), nil
}

// Verify says whether the password is the one that stored was made of, and, when
// it is, whether stored should be replaced by a hash of today's cost. Nothing
// stored ("") costs the same as something, and is never right. It returns ErrHash
// for what cannot be read, and ctx's error when no place came free.
func (h *Hasher) Verify(ctx context.Context, stored, password string) (ok, upgrade bool, err error) {
	if stored == "" {
		_, _, err = h.verify(ctx, h.dummy, password)
		return false, false, err
	}
	return h.verify(ctx, stored, password)
}

func (h *Hasher) verify(ctx context.Context, stored, password string) (ok, upgrade bool, err error) {
	if isBcrypt(stored) {
		return h.verifyBcrypt(ctx, stored, password)
	}
	cost, salt, key, err := parse(stored)
	if err != nil {
		return false, false, err
	}
	if len(password) > MaxBytes {
		password = "" // never right, and never a hash of a megabyte
		salt = make([]byte, saltBytes)
	}
	if err := h.places.Acquire(ctx, 1); err != nil {
		return false, false, fmt.Errorf("wait to verify a password: %w", err)
	}
	defer h.places.Release(1)
	got := h.derive([]byte(password), salt, cost.Passes, cost.Memory, cost.Lanes, uint32(len(key)))
	ok = subtle.ConstantTimeCompare(got, key) == 1
	return ok, ok && cost.below(h.cost), nil
}

func (h *Hasher) verifyBcrypt(ctx context.Context, stored, password string) (ok, upgrade bool, err error) {
	cost, err := bcrypt.Cost([]byte(stored))
	if err != nil || cost > maxBcrypt {
		return false, false, ErrHash
	}
	if len(password) > bcryptBytes {
		return false, false, nil
	}
	if err := h.places.Acquire(ctx, 1); err != nil {
		return false, false, fmt.Errorf("wait to verify a password: %w", err)
	}
	defer h.places.Release(1)
	err = bcrypt.CompareHashAndPassword([]byte(stored), []byte(password))
	switch {
	case err == nil:
		return true, true, nil
	case errors.Is(err, bcrypt.ErrMismatchedHashAndPassword):
		return false, false, nil
	default:
		return false, false, ErrHash
	}
}

func (h *Hasher) hash(password []byte) string {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // crypto/rand.Read never fails
	key := h.derive(password, salt, h.cost.Passes, h.cost.Memory, h.cost.Lanes, keyBytes)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.cost.Memory, h.cost.Passes, h.cost.Lanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

func (c Cost) below(want Cost) bool {
	return uint64(c.Memory)*uint64(c.Passes) < uint64(want.Memory)*uint64(want.Passes) || c.Memory < want.Memory
}

func isBcrypt(stored string) bool {
	return strings.HasPrefix(stored, "$2a$") || strings.HasPrefix(stored, "$2b$") || strings.HasPrefix(stored, "$2y$")
}

// parse reads a PHC string of argon2id. It accepts one spelling only.
func parse(stored string) (cost Cost, salt, key []byte, err error) {
	fields := strings.Split(stored, "$")
	if len(stored) > maxHashBytes || len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != "v="+strconv.Itoa(argon2.Version) {
		return cost, nil, nil, ErrHash
	}
	settings := strings.Split(fields[3], ",")
	if len(settings) != 3 {
		return cost, nil, nil, ErrHash
	}
	memory, err1 := number(settings[0], "m=", maxMemory)
	passes, err2 := number(settings[1], "t=", maxPasses)
	lanes, err3 := number(settings[2], "p=", maxLanes)
	if errors.Join(err1, err2, err3) != nil || memory < 8*lanes {
		return cost, nil, nil, ErrHash
	}
	strict := base64.RawStdEncoding.Strict()
	salt, err1 = strict.DecodeString(fields[4])
	key, err2 = strict.DecodeString(fields[5])
	if errors.Join(err1, err2) != nil || len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return cost, nil, nil, ErrHash
	}
	return Cost{Memory: memory, Passes: passes, Lanes: uint8(lanes)}, salt, key, nil
}

func number(setting, name string, most uint32) (uint32, error) {
	text, ok := strings.CutPrefix(setting, name)
	n, err := strconv.ParseUint(text, 10, 32)
	if !ok || err != nil || n == 0 || n > uint64(most) || strconv.FormatUint(n, 10) != text {
		return 0, ErrHash
	}
	return uint32(n), nil
}
