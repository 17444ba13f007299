package wire

import "github.com/genericcorp/corp"

// Reading is what an answer says about itself, as far as it has been seen.
type Reading struct {
	Usage      corp.Usage
	Input      bool // the counts of the prompt were reported
	Final      bool // the final count of the answer was reported
	Complete   bool // the answer ended as it should
	Extra      []Part
	Model      string // that served
	StopReason string
	Raw        []byte // the usage as the vendor wrote it, a JSON object; nil when none
	Error      string // "type: message" of an error inside the answer
	Unpriced   string // what it used that the counts do not cover; "" when nothing
}

// Part is what one call of another model inside the same answer used.
type Part struct {
	Model string // empty for the answer's own model
	Usage corp.Usage
}

// MaxCount is beyond any real count of tokens; more is a broken answer.
const MaxCount = 1 << 40
