// Package vendorsim is a simulated model vendor. It speaks the Anthropic
// Messages and the OpenAI Chat Completions dialect on the wire, streaming and not,
// and answers both from the same scenarios: YAML files of rules that match on the
// conversation and say what comes back, what it costs and what goes wrong. Tests,
// the demonstration and the load runs use it in place of a vendor.
//
// Which rule answers follows from the conversation alone, so that any number of
// runs may share a server. It keeps books of what it billed, so that a
// ledger can be checked against them. Every answer carries the header
// X-Simulated: vendorsim, by which a consumer knows to label what it shows.
//
// It refuses to know the rest of the product (it imports none of it), to call
// any other host, and to pass for a real vendor: the header cannot be turned off.
package vendorsim
