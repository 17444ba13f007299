// Package wire is what the dialects of the gateway share: reading JSON strictly
// without building anything, replacing values in a body where they stand, taking
// a stream of events apart into lines, and the words in which an answer's usage
// is told.
//
// It knows no vendor and no dialect, and it never writes JSON anew: what is not
// replaced stays as it was, byte for byte.
package wire
