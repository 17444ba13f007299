package gitwork

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

// A repository may come from another user of the machine, or out of an archive
// with its .git: git itself trusts what stands in its configuration.
func TestACommandInTheConfigurationOfALocalRepositoryNeverRuns(t *testing.T) {
	t.Parallel()
	for name, configure := range map[string]string{
		"a transport that runs commands": `git config protocol.ext.allow always && git config "url.ext::$EVIL .insteadOf" "$BUNDLES/"`,
		"what lists borrowed objects":    `git config core.alternateRefsCommand "$EVIL" && echo "$OTHER/.git/objects" > .git/objects/info/alternates`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repository, other, dir := userRepository(t), userRepository(t), t.TempDir()
			sign, evil, branch := filepath.Join(dir, "sign"), filepath.Join(dir, "evil.sh"), corp.BranchOf(task)
			if err := os.WriteFile(evil, []byte("#!/bin/sh\ntouch "+sign+"\nexit 1\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			bundle := filepath.Join(dir, "bundles", "result.bundle")
			sh(t, repository, "mkdir "+filepath.Dir(bundle)+` && git checkout -q -b `+branch+` && git commit -q --allow-empty -m result &&
				git bundle create -q `+bundle+" main.."+branch+" && git checkout -q main && git branch -q -D "+branch+" && git gc -q --prune=now")
			sh(t, repository, "EVIL="+evil+" OTHER="+other+" BUNDLES="+filepath.Dir(bundle)+"\n"+configure)
			ref := "refs/heads/" + branch
			sh(t, repository, "git fetch -q "+bundle+" "+ref+":refs/heads/control || true")
			if err := os.Remove(sign); err != nil {
				t.Fatalf("the positive control: git itself did not run the command: %v", err)
			}
			l, err := OpenLocal(t.Context(), repository)
			if err != nil {
				t.Fatal(err)
			}
			base, err := l.Resolve(t.Context(), "main")
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Bundle(t.Context(), base.Commit, &bytes.Buffer{}); err != nil {
				t.Fatal(err)
			}
			fetched := l.FetchResult(t.Context(), bundle, branch)
			if _, err := os.Stat(sign); err == nil {
				t.Errorf("the repository's command was run (fetch: %v)", fetched)
			}
		})
	}
}

func TestOnlyTheTransportsOfACallAreAllowedWhateverARepositorySays(t *testing.T) {
	t.Parallel()
	for want, config := range map[string][]setting{"": nil, "file": fromFile, "https:http:ssh:git": overNetwork()} {
		if got := allowedProtocols(config); got != want {
			t.Errorf("%v allows %q, want %q", config, got, want)
		}
	}
}

// The runner's user may have keys of its own, which open what no workspace may see.
func TestSSHUsesNoKeyAndNoConfigurationOfTheRunnersUser(t *testing.T) {
	t.Parallel()
	for _, kv := range environment("/", overNetwork()) {
		if command, ok := strings.CutPrefix(kv, "GIT_SSH_COMMAND="); ok {
			for _, word := range []string{" -F none ", " -oIdentityFile=none ", " -oBatchMode=yes "} {
				if !strings.Contains(command, word) {
					t.Errorf("%q lacks %q", command, word)
				}
			}
			return
		}
	}
	t.Error("ssh is not told how to behave")
}
