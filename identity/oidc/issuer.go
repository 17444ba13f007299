package oidc

import (
	"context"
	"fmt"
	"sync"
	"time"

	upstream "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/sync/singleflight"

	"github.com/genericcorp/corp"
)

// askAgainAfter is how long an issuer that did not answer is left alone: strangers begin
// sign-ins, and each would wait for it.
const askAgainAfter = 5 * time.Second

// issuer is one of the configuration; what it publishes is read at first use.
type issuer struct {
	Config

	asking singleflight.Group

	mu       sync.Mutex
	provider *upstream.Provider
	says     bool      // who it is, in every answer (RFC 9207)
	failed   error     // to answer
	until    time.Time // it is left alone
}

// issuer returns one with what it publishes. All who come meanwhile wait for one
// question, each as long as they like.
func (p *Party) issuer(ctx context.Context, name string) (*issuer, *upstream.Provider, error) {
	at := p.issuers[name]
	if at == nil {
		return nil, nil, corp.NotFound("issuer")
	}
	if provider, err := at.known(p.now()); provider != nil || err != nil {
		return at, provider, err
	}
	// The keys are fetched later with the client of this context, too: not the request's own.
	apart := upstream.ClientContext(context.WithoutCancel(ctx), p.client)
	answer := at.asking.DoChan("", func() (any, error) { return at.discover(apart, p.now) })
	select {
	case <-ctx.Done():
		return nil, nil, asked(ctx.Err())
	case found := <-answer:
		provider, _ := found.Val.(*upstream.Provider)
		return at, provider, found.Err
	}
}

// known returns what is known of an issuer: neither, when it is to be asked.
func (i *issuer) known(now time.Time) (*upstream.Provider, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.provider == nil && now.Before(i.until) {
		return nil, i.failed
	}
	return i.provider, nil
}

func (i *issuer) discover(ctx context.Context, now func() time.Time) (*upstream.Provider, error) {
	if known, err := i.known(now()); known != nil || err != nil { // since somebody looked
		return known, err
	}
	var more struct {
		Says bool `json:"authorization_response_iss_parameter_supported"`
	}
	found, err := upstream.NewProvider(ctx, i.Issuer)
	if err == nil {
		err = found.Claims(&more)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if err != nil {
		i.failed, i.until = asked(fmt.Errorf("ask an issuer what it publishes: %w", err)), now().Add(askAgainAfter)
		return nil, i.failed
	}
	i.provider, i.says = found, more.Says
	return found, nil
}
