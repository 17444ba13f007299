package corp

import (
	"slices"
	"strings"
)

// reserved are the names that an installation needs for itself where a
// workspace's slug stands in a host name, and those that would pass for it.
var reserved = []string{
	"abuse", "account", "accounts", "acme-challenge", "admin", "administrator", "api", "app", "apps", "assets", "auth", "autoconfig", "autodiscover",
	"billing", "blog", "cdn", "console", "corp", "dashboard", "dev", "docs", "download", "downloads", "email", "files", "ftp", "gateway", "generic-corp", "genericcorp",
	"git", "help", "host", "hostmaster", "imap", "internal", "ldap", "legal", "localhost", "login", "logout", "mail", "metrics", "mta-sts", "mx", "news",
	"noreply", "no-reply", "ns1", "ns2", "oauth", "openid", "operator", "pay", "payment", "payments", "pop", "pop3", "postmaster", "privacy", "prod", "production", "register",
	"registry", "root", "sandbox", "secure", "security", "server", "signin", "signup", "smtp", "sso", "staging", "static", "status", "store", "support", "system", "terms",
	"test", "testing", "uploads", "user", "users", "vpn", "webhook", "webhooks", "webmail", "webmaster", "wpad", "www", "www1", "www2",
}

// ReservedSlug says whether no workspace may have the slug. Labels that browsers
// show as other letters are among them.
func ReservedSlug(slug string) bool {
	slug = strings.ToLower(slug)
	return slices.Contains(reserved, slug) || strings.HasPrefix(slug, "_") || strings.HasPrefix(slug, "xn--") || len(slug) > 3 && slug[2:4] == "--"
}
