package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/cmd/corp/days"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/limit"
)

// config is all that a server can be told. Each setting is a flag, a variable
// (CORP_ and the flag's name in capitals) and a line in the configuration file,
// in that order of precedence.
type config struct {
	Data          string
	File          string
	Listen        string
	GatewayListen string
	GatewayURL    string
	Advertise     string
	SecretFile    string
	NewSecret     bool
	Blobs         string
	PostgresURL   string
	SystemURL     string
	AdminURL      string
	DirectURL     string
	RedisURL      string
	PostgresBin   string
	Connections   int
	NoRunner      bool
	Slots         int
	Sandbox       string
	ReadOnly      []string
	GitEnv        []string
	LogFormat     string
	LogLevel      string
	LeaseTTL      time.Duration
	Heartbeat     time.Duration
	AckWithin     time.Duration
	LeaseMargin   time.Duration
	PollWait      time.Duration
	LeaderTTL     time.Duration
	DrainDelay    time.Duration
	AnthropicURL  string
	OpenAIURL     string
	KeepEntries   days.Days
	KeepEvents    days.Days
	KeepCalls     days.Days
	KeepBlobs     days.Days
	KeepAudit     days.Days
	AuditAnchor   string
	Edge          edgeSettings
	People        peopleSettings
	Check         bool
}

// The settings whose value is a secret or holds one.
var secretSettings = []string{"postgres-url", "postgres-system-url", "postgres-admin-url", "postgres-direct-url", "smtp-url", "redis-url"}

// noFile are the settings that only make sense on the command line.
var flagOnly = []string{"check", "config", "new-secret"}

func (c *config) flags(f *pflag.FlagSet) {
	f.StringVar(&c.File, "config", "", "configuration file: YAML with the names of these flags (default: corp.yaml in the data folder)")
	f.StringVar(&c.Listen, "listen", "127.0.0.1:7400", "address of the API")
	f.StringVar(&c.GatewayListen, "gateway-listen", "127.0.0.1:7401", "address of the gateway that agents' model calls go through")
	f.StringVar(&c.GatewayURL, "gateway-url", "", "URL under which runners reach the gateway (default: from gateway-listen)")
	f.StringVar(&c.Advertise, "advertise", "", "URL under which the other servers of the installation reach this one's API (default: from listen)")
	f.StringVar(&c.SecretFile, "secret-key-file", "", "the installation's secret, the same for all servers (default: secret.key in the data folder)")
	f.BoolVar(&c.NewSecret, "new-secret", false, "go on with another secret than the installation's, once, because that is lost")
	f.StringVar(&c.Blobs, "blobs", "", "folder for bundles and patches, shared by all servers (default: blobs in the data folder)")
	f.StringVar(&c.PostgresURL, "postgres-url", "", "external PostgreSQL 16+, as role corp_app (default: the one inside)")
	f.StringVar(&c.SystemURL, "postgres-system-url", "", "the same database as role corp_system")
	f.StringVar(&c.AdminURL, "postgres-admin-url", "", "the same database as an administrator; only \"corp migrate\" uses it")
	f.StringVar(&c.DirectURL, "postgres-direct-url", "", "past PgBouncer, for LISTEN (default: postgres-url)")
	f.StringVar(&c.RedisURL, "redis-url", "", "Redis or Valkey in which several servers count requests together, like redis://user:password@host:6379/0 (default: each counts by itself)")
	f.StringVar(&c.PostgresBin, "postgres-bin", "", "folder with the programs of PostgreSQL 18 to start (default: the ones inside)")
	f.IntVar(&c.Connections, "postgres-connections", 20, "largest number of database connections")
	f.BoolVar(&c.NoRunner, "no-runner", false, "start no runner beside the server")
	f.IntVar(&c.Slots, "slots", max(2, runtime.NumCPU()), "runs that the runner carries out at a time")
	f.StringVar(&c.Sandbox, "sandbox", "bubblewrap", "bubblewrap, or none to run agents without protection")
	f.StringSliceVar(&c.ReadOnly, "sandbox-read", nil, "folders that agents may read besides the system, such as a module cache")
	f.StringSliceVar(&c.GitEnv, "git-env", defaultGitEnv(), gitEnvUsage)
	f.StringVar(&c.LogFormat, "log-format", "json", "json or text")
	f.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	f.DurationVar(&c.LeaseTTL, "lease-ttl", 30*time.Second, "how long a runner may be silent")
	f.DurationVar(&c.Heartbeat, "heartbeat", 10*time.Second, "how often runners renew their leases")
	f.DurationVar(&c.AckWithin, "ack-within", 10*time.Second, "how long an offered run waits for its runner")
	f.DurationVar(&c.LeaseMargin, "lease-margin", 5*time.Second, "runners stop this much before the lease ends, the server waits this much longer")
	f.DurationVar(&c.LeaderTTL, "leader-ttl", dispatch.DefaultTimes().LeaderTTL, "how long the server that hands out work may be silent before another takes over")
	f.DurationVar(&c.PollWait, "poll-wait", 30*time.Second, "how long a runner's poll waits for work")
	f.DurationVar(&c.DrainDelay, "drain-delay", 0, "on SIGTERM: how long /ready says no before the server answers no more; set it above the load balancer's interval")
	f.StringVar(&c.AnthropicURL, "anthropic-url", "https://api.anthropic.com", "where ANTHROPIC_API_KEY is used, when it is set")
	f.StringVar(&c.OpenAIURL, "openai-url", "https://api.openai.com/v1", "where OPENAI_API_KEY is used, when it is set")
	c.retentionFlags(f)
	f.StringVar(&c.AuditAnchor, "audit-anchor", "", "file that the audit log's signed checkpoints are appended to; put it where the database's owner cannot write")
	c.Edge.flags(f)
	c.People.flags(f)
	f.BoolVar(&c.Check, "check", false, "check the configuration, print it without secrets, and end")
}

// load fills what the command line left open from the environment and the file.
func (c *config) load(f *pflag.FlagSet, o *options) error {
	c.Data = o.dataFolder()
	fromFile, err := readSettings(c.File, o.env.Getenv("CORP_CONFIG"), filepath.Join(c.Data, "corp.yaml"))
	if err != nil {
		return err
	}
	var failed error
	f.VisitAll(func(flag *pflag.Flag) {
		if failed != nil || flag.Changed || !c.owns(flag.Name) {
			return
		}
		variable := "CORP_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value, origin := o.env.Getenv(variable), variable
		if value == "" {
			value, origin = fromFile[flag.Name], "the configuration file"
		}
		if value == "" {
			return
		}
		if err := flag.Value.Set(value); err != nil {
			failed = usageError{corp.Invalid(flag.Name, fmt.Sprintf("The value %q from %s does not fit: %s.", value, origin, plainly(err)), "It is: "+flag.Usage+".")}
		}
	})
	if failed != nil {
		return failed
	}
	for name := range fromFile {
		if !c.owns(name) || slices.Contains(flagOnly, name) {
			return usageError{corp.Invalid(name, "There is no setting of this name in the configuration file.", "\"corp up --help\" lists the settings; write them without the dashes in front.")}
		}
	}
	if err := c.People.check(o.env.Getenv); err != nil {
		return usageError{err}
	}
	return c.validate()
}

// owns says whether a flag is one of this configuration's.
func (c *config) owns(name string) bool {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(config).flags(own)
	return own.Lookup(name) != nil
}

// readSettings reads the configuration file as text values. Only the default
// place may be empty.
func readSettings(flag, variable, fallback string) (map[string]string, error) {
	path := flag
	if path == "" {
		path = variable
	}
	required := path != ""
	if !required {
		path = fallback
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, usageError{corp.Invalid("config", fmt.Sprintf("The configuration file cannot be read: %v.", err), "Name another with --config.")}
	}
	var raw map[string]any
	if err := yaml.Unmarshal(b, &raw); err != nil {
		return nil, usageError{corp.Invalid("config", fmt.Sprintf("%s is not YAML: %v.", path, err), "Write one setting a line, like \"listen: 127.0.0.1:7400\".")}
	}
	settings := map[string]string{}
	for name, value := range raw {
		switch v := value.(type) {
		case []any:
			parts := make([]string, len(v))
			for i, p := range v {
				parts[i] = fmt.Sprint(p)
			}
			settings[name] = strings.Join(parts, ",")
		default:
			settings[name] = fmt.Sprint(v)
		}
	}
	return settings, nil
}

func (c *config) validate() error {
	wrong := func(field, message, hint string) error { return usageError{corp.Invalid(field, message, hint)} }
	for field, address := range map[string]string{"listen": c.Listen, "gateway-listen": c.GatewayListen} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return wrong(field, fmt.Sprintf("%q is not an address.", address), "Write HOST:PORT, like 127.0.0.1:7400.")
		}
	}
	for field, text := range map[string]string{"postgres-url": c.PostgresURL, "postgres-system-url": c.SystemURL, "postgres-admin-url": c.AdminURL, "gateway-url": c.GatewayURL, "advertise": c.Advertise, "anthropic-url": c.AnthropicURL} {
		if u, err := url.Parse(text); text != "" && (err != nil || u.Scheme == "" || (u.Host == "" && u.RawQuery == "")) {
			return wrong(field, "That is not a URL.", "Write it in full, like postgres://corp_app:password@host:5432/corp.")
		}
	}
	if err := checkLog(c.LogFormat, c.LogLevel); err != nil {
		return err
	}
	if err := c.Edge.check(); err != nil {
		return usageError{err}
	}
	if c.RedisURL != "" {
		r, err := limit.NewRedis(c.RedisURL)
		if err != nil {
			return usageError{err}
		}
		_ = r.Close() // it was not connected
	}
	switch {
	case c.PostgresURL != "" && c.SystemURL == "":
		return wrong("postgres-system-url", "An external PostgreSQL needs a second login, for scheduling across workspaces.", "Set CORP_POSTGRES_SYSTEM_URL to the same database as role corp_system; docs/operate.md shows how.")
	case c.PostgresURL == "" && c.SystemURL != "":
		return wrong("postgres-url", "Only the second login of an external PostgreSQL is set.", "Set CORP_POSTGRES_URL too, as role corp_app.")
	case c.Slots < 1 || c.Slots > 1000:
		return wrong("slots", "The number of slots is between 1 and 1000.", "Leave it out for one per processor, and two at least.")
	case c.Connections < 4:
		return wrong("postgres-connections", "The server needs at least 4 connections.", "Leave it out for 20.")
	case c.Sandbox != "bubblewrap" && c.Sandbox != "none":
		return wrong("sandbox", fmt.Sprintf("%q is not a sandbox.", c.Sandbox), "Use bubblewrap, or none.")
	case c.LeaderTTL < time.Second || c.LeaderTTL > 10*time.Minute:
		return wrong("leader-ttl", "The lead lasts between a second and ten minutes.", fmt.Sprintf("Leave it out for %s.", dispatch.DefaultTimes().LeaderTTL))
	case c.Advertise != "" && !strings.HasPrefix(c.Advertise, "http://") && !strings.HasPrefix(c.Advertise, "https://"):
		return wrong("advertise", "The other servers speak HTTP to this address.", "Write it like https://corp-1.example.com:7400.")
	case c.DrainDelay < 0 || c.DrainDelay > 5*time.Minute:
		return wrong("drain-delay", "The delay of the drain is between 0 and 5 minutes.", "Leave it out without a load balancer.")
	case c.KeepAudit != 0 && c.KeepAudit < 90*days.Day:
		return wrong("keep-audit", "The audit log is kept for 90 days at least.", "Leave it out for 400d; 0 keeps it for ever.")
	case c.LeaseMargin <= 0 || c.Heartbeat <= 0 || c.LeaseTTL <= c.Heartbeat+c.LeaseMargin:
		return wrong("lease-ttl", "A lease must outlast a heartbeat and the margin.", "Set lease-ttl above heartbeat + lease-margin; 30s, 10s and 5s are the defaults.")
	}
	return nil
}

// describe writes every setting, without secrets.
func (c *config) describe(f *pflag.FlagSet) map[string]string {
	shown := map[string]string{"data": c.Data}
	f.VisitAll(func(flag *pflag.Flag) {
		if !c.owns(flag.Name) || slices.Contains(flagOnly, flag.Name) {
			return
		}
		value := flag.Value.String()
		if slices.Contains(secretSettings, flag.Name) {
			value = withoutPassword(value)
		}
		shown[flag.Name] = value
	})
	for name, inForce := range map[string]string{
		"gateway-url": called(c.GatewayListen), "advertise": called(c.Listen), "secret-key-file": c.secretFile(), "blobs": c.blobs(),
		"postgres-url": "the one inside",
	} {
		if shown[name] == "" {
			shown[name] = inForce
		}
	}
	return shown
}

// called is the URL of what listens on an address. Which free port it would take,
// if it is to take one, shows at the start.
func called(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" {
		return "from the port that is free at the start"
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

func withoutPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil || text == "" {
		return ""
	}
	return u.Redacted()
}
