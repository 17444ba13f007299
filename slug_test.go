package corp

import "testing"

// Attack case 64. Control: ordinary names are free.
func TestNamesOfTheInstallationAreNoWorkspaces(t *testing.T) {
	t.Parallel()
	for slug, want := range map[string]bool{
		"www": true, "api": true, "admin": true, "auth": true, "status": true, "cdn": true, "mail": true, "app": true, "WWW": true, "_dmarc": true, "xn--80ak6aa92e": true, "ab--cd": true,
		"acme": false, "default": false, "www-acme": false, "api2go": false, "demo": false, "a-b": false, "a1b--c": false,
	} {
		if got := ReservedSlug(slug); got != want {
			t.Errorf("%q is reserved: %t, want %t", slug, got, want)
		}
	}
}
