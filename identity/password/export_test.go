package password

import "golang.org/x/crypto/argon2"

// Watch tells of each hash that is computed: its cost, and how long its key is.
func (h *Hasher) Watch(tell func(c Cost, bytes uint32)) {
	h.derive = func(password, salt []byte, passes, memory uint32, lanes uint8, bytes uint32) []byte {
		tell(Cost{Memory: memory, Passes: passes, Lanes: lanes}, bytes)
		return argon2.IDKey(password, salt, passes, memory, lanes, bytes)
	}
}
