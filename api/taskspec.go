package api

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/genericcorp/corp"
)

// maxLabel is the longest label, in bytes.
const maxLabel = 60

// checkTask refuses what the description of the fields alone does not.
func checkTask(spec corp.TaskSpec) error {
	if strings.TrimSpace(spec.Prompt) == "" {
		return corp.Invalid("prompt", "The prompt is empty.", "Say what to do, in plain words.")
	}
	if len(spec.Prompt) > corp.MaxPrompt {
		return corp.Invalid("prompt", fmt.Sprintf("The prompt is longer than %d bytes.", corp.MaxPrompt), "Put long material into the repository and name the file.")
	}
	if err := checkOneSource(spec); err != nil {
		return err
	}
	if err := checkRef("base", spec.Base); err != nil {
		return err
	}
	for i, label := range spec.Labels {
		if label == "" || len(label) > maxLabel || strings.ContainsFunc(label, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) {
			return corp.Invalid(fmt.Sprintf("labels[%d]", i), "That is not a label.", fmt.Sprintf("Use 1 to %d visible ASCII characters without a comma.", maxLabel))
		}
	}
	return nil
}

// checkTask is checkTask with what this installation reaches.
func (a *API) checkTask(spec corp.TaskSpec) error {
	if err := checkTask(spec); err != nil || spec.RepositoryURL == "" {
		return err
	}
	return a.Outbound.CheckURL("repository_url", spec.RepositoryURL)
}

// inField puts the place of what was checked before the field that an error names.
func inField(place string, err error) error {
	e, ok := errors.AsType[*corp.Error](err)
	if !ok {
		return err
	}
	moved := *e
	moved.Field = place + e.Field
	return &moved
}

func checkOneSource(spec corp.TaskSpec) error {
	given := 0
	for _, there := range []bool{spec.RepositoryID != nil, spec.RepositoryURL != "", spec.SourceID != nil} {
		if there {
			given++
		}
	}
	switch {
	case given == 0:
		return corp.Invalid("repository_url", "The task does not say where the code is.", "Give one of repository_id, repository_url and source_id.")
	case given > 1:
		return corp.Invalid("repository_url", "The task names more than one place for the code.", "Give exactly one of repository_id, repository_url and source_id.")
	case spec.SourceID != nil && spec.BaseCommit == "":
		return corp.Invalid("base_commit", "A task with an uploaded source must name its commit.", "Give the full hash of the commit that the bundle holds.")
	case spec.RepositoryURL != "":
		return checkGitURL("repository_url", spec.RepositoryURL)
	}
	return nil
}

// scpForm is USER@HOST:PATH, with no scheme in front.
var scpForm = regexp.MustCompile(`^([A-Za-z0-9._][A-Za-z0-9._-]*@[A-Za-z0-9.][A-Za-z0-9.-]*):([^?#@]*[^?#@/])$`)

// checkGitURL refuses paths, options and transports by which a URL could make
// git read the machine it runs on, and passwords, which would end up in the row.
func checkGitURL(field, text string) error {
	odd := strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f })
	if parts := scpForm.FindStringSubmatch(text); parts != nil && !odd {
		return corp.Invalid(field, "That is the form that ssh and scp use, not a URL.", "Write it ssh://"+parts[1]+"/"+strings.TrimPrefix(parts[2], "/")+".")
	}
	u, err := url.Parse(text)
	if err != nil || odd {
		return corp.Invalid(field, "That is not a git URL.", "Write it like https://example.com/team/project.git.")
	}
	if !slices.Contains([]string{"https", "http", "ssh", "git"}, u.Scheme) {
		return corp.Invalid(field, "The repository must be given by an https, http, ssh or git URL.", "A repository on your own machine goes through \"corp run --repo PATH\", which uploads it; git@host:path is written ssh://git@host/path.")
	}
	user := ""
	if u.User != nil {
		user = u.User.Username()
	}
	if u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-") || strings.HasPrefix(user, "-") || u.Path == "" || u.Path == "/" || strings.HasPrefix(u.Path, "/-") {
		return corp.Invalid(field, "That URL names no host or no repository.", "Write it like https://example.com/team/project.git.")
	}
	if _, secret := u.User.Password(); u.User != nil && secret {
		hint := "Make a repository with a credential (corp repository add NAME URL --user NAME --password-env VARIABLE) and name its repository_id."
		if field == "url" { // one is being made
			hint = "Leave it out and give it as the credential: corp repository add NAME URL --user NAME --password-env VARIABLE."
		}
		return corp.Invalid(field, "The URL holds a password.", hint)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return corp.Invalid(field, "A git URL has no query and no fragment.", "Leave out what follows the ? or #; name a branch with base.")
	}
	return nil
}

// checkRef refuses what git would take for an option or an expression.
func checkRef(field, ref string) error {
	bad := strings.HasPrefix(ref, "-") || strings.Contains(ref, "..") || strings.Contains(ref, "@{") || strings.HasSuffix(ref, ".lock") ||
		strings.HasPrefix(ref, "/") || strings.HasSuffix(ref, "/") ||
		strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("~^:?*[\\", r) })
	if bad {
		return corp.Invalid(field, fmt.Sprintf("%q is not the name of a branch, tag or commit.", ref), "Give a plain name like main, v1.2 or a full commit hash.")
	}
	return nil
}
