// Package corp is the vocabulary of Generic Corp: its nouns, their states, ids,
// money, errors and limits, and the pure rules on them. Every other package
// speaks in these words.
//
// It imports the standard library only and does no input or output, so that
// anyone can read it first and anything may depend on it.
package corp

// ProtocolVersion is the newest version of the runner protocol that this build
// speaks. A server and a runner agree on one at registration.
const ProtocolVersion = 1
