package gateway

import "strings"

// Many a vendor's address is a proxy's: one that routes, balances, caches. Some
// take a request's headers for where it should go, with which account, or who
// sent it. A client must not decide that for the vendor's key, so these headers
// end here. Cookies do as well: they are credentials that no agent was given.
var (
	steering = map[string]bool{
		"Forwarded": true, "Via": true, "Cookie": true, "Cookie2": true, "X-Real-Ip": true, "True-Client-Ip": true, "X-Client-Ip": true,
		"X-Host": true, "X-Original-Host": true, "X-Original-Url": true, "X-Rewrite-Url": true, "X-Backend": true, "X-Proxy": true,
		"X-Http-Host-Override": true, "X-Http-Method": true, "X-Http-Method-Override": true, "X-Method-Override": true,
		"X-Base-Url": true, "X-Api-Base": true, "Api-Base": true, "Base-Url": true, "Api-Key": true, "X-Goog-Api-Key": true, "X-Auth-Token": true,
		"Openai-Project": true, // which account of the key's owner is billed; the other such header is of its family below
	}
	steeringFamilies = []string{
		"X-Forwarded-", "X-Envoy-", "X-Target-", "X-Upstream-", "X-Proxy-", "X-Route", "X-Amz-", "X-Goog-User-Project",
		"Helicone-", "X-Helicone-", "X-Portkey-", "Cf-", "X-Litellm-", "Litellm-", "X-Kong-", "Openai-Org",
	}
)

// steers says whether a header, by its canonical name, could tell a proxy in front
// of a vendor what is not the client's to tell.
func steers(name string) bool {
	if steering[name] {
		return true
	}
	for _, family := range steeringFamilies {
		if strings.HasPrefix(name, family) {
			return true
		}
	}
	return false
}
