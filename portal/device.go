package portal

import (
	"context"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/api"
	"github.com/genericcorp/corp/identity"
)

// terminal is a command line that asks to be let in.
type terminal struct {
	identity.Waiting
	Code       string
	Me         string
	Workspaces []corp.Membership
	Current    corp.WorkspaceID
	Proof      bool // is asked for
	Factor     bool // with it
}

func (p *Portal) devicePage(ctx context.Context, v api.Visit) (api.Reply, error) {
	code := v.Request.URL.Query().Get("code")
	if code == "" {
		return p.show(v, screen{view: "code", Title: "Let a command line in"}), nil
	}
	return p.asksIn(ctx, v, code, nil)
}

// asksIn shows who asks, so that a person lets in only their own.
func (p *Portal) asksIn(ctx context.Context, v api.Visit, code string, failed error) (api.Reply, error) {
	waiting, err := p.flows.Device(ctx, v.Who, code)
	if err == nil {
		err = failed
	} else if corp.KindOf(err) == corp.KindNotFound {
		err = &corp.Error{Kind: corp.KindNotFound, Field: "code", Message: "There is no command line with this code, or not any more.", Hint: "Compare it letter by letter, or begin again: corp login."}
	}
	if err != nil && waiting == (identity.Waiting{}) {
		return p.answer(v, screen{view: "code", Title: "Let a command line in"}, "code", err)
	}
	me, unknown := p.flows.Me(ctx, v.Who)
	if unknown != nil {
		return p.problem(v, unknown), unknown
	}
	works := v.Who.Workspace
	if chosen, err := corp.ParseID[corp.WorkspaceID](v.Request.PostForm.Get("workspace")); err == nil {
		works = chosen
	}
	proof := codeOf(err) != "" && me.User.Password // who has none signs in anew
	return p.answer(v, screen{view: "device", Title: "Let a command line in", Data: terminal{waiting, code, me.User.Email, open(me.Workspaces), works, proof, me.User.SecondFactor}}, "device", err)
}

// open are the workspaces that can be worked in.
func open(all []corp.Membership) (those []corp.Membership) {
	for _, m := range all {
		if m.DeleteAfter == nil && m.SuspendedAt == nil {
			those = append(those, m)
		}
	}
	return those
}

func (p *Portal) answerDevice(ctx context.Context, v api.Visit) (api.Reply, error) {
	form := v.Request.PostForm
	yes := form.Get("answer") == "yes"
	reply := identity.DeviceReply{Code: form.Get("code"), Yes: yes, Again: identity.Again{Password: form.Get("password"), Code: form.Get("factor")}}
	var err error
	if id := form.Get("workspace"); id != "" && yes {
		reply.WorksIn, err = corp.ParseID[corp.WorkspaceID](id)
	}
	if err == nil {
		err = field(p.flows.AnswerDevice(ctx, v.Who, reply, v.From), "code", "factor") // "code" is the device's here
	}
	if err != nil {
		return p.asksIn(ctx, v, form.Get("code"), err)
	}
	text := "The command line was turned away. If you did not begin that, somebody else tried to sign in as you: do not give codes to anybody."
	if yes {
		text = "The command line is signed in. You can close this page."
	}
	return p.show(v, mailed("Done", text)), nil
}
