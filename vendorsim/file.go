package vendorsim

import "go.yaml.in/yaml/v3"

// The types of this file are the YAML as written. Load turns them into what a
// server reads; docs/vendorsim.md explains each field.

type scenarioFile struct {
	Name         string            `yaml:"name"`
	When         matchFile         `yaml:"when"`
	Counters     string            `yaml:"counters"`
	OnHangup     string            `yaml:"on_hangup"`
	CombineTurns bool              `yaml:"combine_turns"`
	Models       []Model           `yaml:"models"`
	Headers      map[string]string `yaml:"headers"`
	Pace         paceFile          `yaml:"pace"`
	Rules        []ruleFile        `yaml:"rules"`
}

type ruleFile struct {
	Name   string      `yaml:"name"`
	Match  matchFile   `yaml:"match"`
	Reply  replyFile   `yaml:"reply"`
	Faults []faultFile `yaml:"faults"`
}

type matchFile struct {
	Model       *pattern  `yaml:"model"`
	System      *pattern  `yaml:"system"`
	Prompt      *pattern  `yaml:"prompt"`
	LastUser    *pattern  `yaml:"last_user"`
	ToolResult  *pattern  `yaml:"tool_result"`
	ToolError   *bool     `yaml:"tool_error"`
	ToolResults *interval `yaml:"tool_results"`
	Turn        *interval `yaml:"turn"`
	Tools       []string  `yaml:"tools"`
	ToolsAbsent []string  `yaml:"tools_absent"`
	ToolCount   *interval `yaml:"tool_count"`
	Stream      *bool     `yaml:"stream"`
}

type replyFile struct {
	Thinking     string            `yaml:"thinking"`
	Text         string            `yaml:"text"`
	TextBytes    int               `yaml:"text_bytes"`
	ToolCalls    []toolCallFile    `yaml:"tool_calls"`
	StopReason   string            `yaml:"stop_reason"`
	StopSequence string            `yaml:"stop_sequence"`
	Usage        usageFile         `yaml:"usage"`
	Headers      map[string]string `yaml:"headers"`
	Pace         paceFile          `yaml:"pace"`
	OnHangup     string            `yaml:"on_hangup"`
	Insert       []insertFile      `yaml:"insert"`
	Fields       fieldsFile        `yaml:"fields"`
}

type toolCallFile struct {
	Name      string    `yaml:"name"`
	ID        string    `yaml:"id"`
	Input     yaml.Node `yaml:"input"`
	InputJSON string    `yaml:"input_json"`
}

type usageFile struct {
	Input        *int64 `yaml:"input"`
	CacheRead    *int64 `yaml:"cache_read"`
	CacheWrite5m *int64 `yaml:"cache_write_5m"`
	CacheWrite1h *int64 `yaml:"cache_write_1h"`
	Output       *int64 `yaml:"output"`
	Hidden       bool   `yaml:"hidden"`
}

type paceFile struct {
	FirstByte *duration `yaml:"first_byte"`
	Between   *duration `yaml:"between"`
	Chunk     *int      `yaml:"chunk"`
}

type insertFile struct {
	AfterEvents int    `yaml:"after_events"`
	Event       string `yaml:"event"`
	Data        string `yaml:"data"`
	Raw         string `yaml:"raw"`
}

type fieldsFile struct {
	Event        string `yaml:"event"`
	Message      string `yaml:"message"`
	Usage        string `yaml:"usage"`
	ContentBlock string `yaml:"content_block"`
	Delta        string `yaml:"delta"`
}

type faultFile struct {
	Kind        string            `yaml:"kind"`
	Times       int               `yaml:"times"`
	Status      int               `yaml:"status"`
	Type        string            `yaml:"type"`
	Message     string            `yaml:"message"`
	RetryAfter  *duration         `yaml:"retry_after"`
	Headers     map[string]string `yaml:"headers"`
	AfterEvents *int              `yaml:"after_events"`
	AfterBytes  *int              `yaml:"after_bytes"`
	PingEvery   *duration         `yaml:"ping_every"`
	Raw         string            `yaml:"raw"`
}
