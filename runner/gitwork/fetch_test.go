package gitwork

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/sandbox"
)

func TestTheAgentsCloneIsItsOwn(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level sandbox.Level) {
		t.Helper()
		c := fetchLocal(t, userRepository(t), level)
		out := agent(t, c, `git status --porcelain; git remote; git branch --show-current; git log --format=%s; cat a.txt; readlink link; test ! -e .git/objects/info/alternates; ls .git/hooks 2>/dev/null || echo no hooks; git rev-list --objects --all | grep -c gone || true`)
		want := "corp/" + task.String() + "\nthird\none\ntwo\nthree\na.txt\nno hooks\n0\n"
		if out != want {
			t.Errorf("got %q, want %q", out, want)
		}
		for _, pattern := range []string{"*.pack", "*/*"} {
			found, _ := filepath.Glob(filepath.Join(c.place.Folder.Git(), "objects", pattern))
			for _, path := range found {
				own := filepath.Join(c.place.Folder.Checkout(), ".git", "objects", strings.TrimPrefix(path, filepath.Join(c.place.Folder.Git(), "objects")))
				a, errA := os.Stat(path)
				b, errB := os.Stat(own)
				if errA == nil && errB == nil && !a.IsDir() && os.SameFile(a, b) {
					t.Errorf("%s is shared", path)
				}
			}
		}
		agent(t, c, "echo x > y && git add y && git commit -qm mine && unset GIT_AUTHOR_NAME && git commit -q --amend --reset-author -m mine && git log --format=%an -1 | grep -q 'Generic Corp'")
	})
}

func TestEveryWayToNameABaseOfARemote(t *testing.T) {
	t.Parallel()
	forge := newForge(t, false)
	app := filepath.Join(forge.root, "app.git")
	head := sh(t, app, "git rev-parse main")
	old := sh(t, app, "git rev-parse main~1")
	for base, want := range map[string]string{
		"": head, "HEAD": head, "main": head, "refs/heads/main": head, "heads/main": head, "v1": head, "refs/tags/v1": head,
		head: head, old: old, old[:8]: old,
	} {
		c, err := Fetch(t.Context(), placeAt(t, sandbox.Bubblewrap), Source{URL: forge.url + "/app.git", Base: base})
		if err != nil {
			t.Errorf("%q: %v", base, err)
		} else if c.Base() != want {
			t.Errorf("%q: got %s, want %s", base, c.Base(), want)
		}
	}
}

func TestABadBaseIsRefusedWithASentence(t *testing.T) {
	t.Parallel()
	forge := newForge(t, false)
	for _, base := range []string{"nope", "refs/heads/nope", "deadbeef", strings.Repeat("0", 40), "--upload-pack=touch /tmp/x", "-q", "main~1", "main..v1", "a b", "main:src", "@{u}", "x\ny", "main^{tree}", "*"} {
		_, err := Fetch(t.Context(), placeAt(t, sandbox.Bubblewrap), Source{URL: forge.url + "/app.git", Base: base})
		expect(t, err, corp.ReasonBase, corp.KindInvalid, "base")
	}
	_, err := Fetch(t.Context(), placeAt(t, sandbox.Bubblewrap), Source{URL: forge.url + "/empty.git"})
	expect(t, err, corp.ReasonBase, corp.KindInvalid, "base")
}

func TestOnlyNetworkTransportsAreAllowed(t *testing.T) {
	t.Parallel()
	repository := userRepository(t)
	canary := filepath.Join(t.TempDir(), "canary")
	for _, address := range []string{
		"file://" + repository, repository, "ext::sh -c 'touch " + canary + "'", "ext::touch%20" + canary, "fd::3", "ftp://host/x", "",
		"-oProxyCommand=touch " + canary, "ssh://-oProxyCommand=touch%20" + canary + "/x", "ssh://-lx@host/y", "git@-x:y", "user@host:-x",
		"https://", "https:///x", "https://host/x?y=1", "https://host/x#y", "http://host/\nx", "C:\\x", "a::https://host/x", "../up", "https::x",
	} {
		_, err := Fetch(t.Context(), placeAt(t, sandbox.Bubblewrap), Source{URL: address})
		expect(t, err, corp.ReasonRepository, corp.KindInvalid, "repository")
	}
	if _, err := os.Stat(canary); !errors.Is(err, os.ErrNotExist) {
		t.Error("something was carried out")
	}
	for _, address := range []string{"https://host/a.git", "http://h:1/a", "ssh://git@host/a", "git://host/a", "git@host.x:owner/a.git", "https://[::1]:3/a"} {
		if _, err := checkURL(address, Credential{}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestACredentialOpensItsHostAndIsNowhereToBeFound(t *testing.T) {
	t.Parallel()
	forge := newForge(t, true)
	source := Source{URL: forge.url + "/app.git", Credential: Credential{Password: password}}
	for _, s := range []string{fmt.Sprint(source), fmt.Sprintf("%#v", source), fmt.Sprintf("%+v", source.Credential), source.Credential.LogValue().String()} {
		if strings.Contains(s, password) {
			t.Errorf("the password prints: %s", s)
		}
	}
	c, err := Fetch(t.Context(), placeAt(t, sandbox.Bubblewrap), source)
	if err != nil {
		t.Fatal(err)
	}
	agent(t, c, "echo x > new")
	collect(t, c)
	if err := c.Deliver(t.Context(), Delivery{URL: source.URL, Credential: source.Credential}); err != nil {
		t.Fatal(err)
	}
	out := agent(t, c, "grep -r s3cret / --include=* -l --exclude-dir=proc --exclude-dir=usr --exclude-dir=dev 2>/dev/null || true; env; cat .git/config")
	if strings.Contains(out, "s3cret") || strings.Contains(out, forge.url) {
		t.Errorf("the agent finds %q", out)
	}
	if found := sh(t, c.place.Folder.Root(), "grep -rl s3cret . || true"); found != "" {
		t.Errorf("it is on the disk in %s", found)
	}
}

func TestACredentialInTheAddressWorksAndIsTakenOut(t *testing.T) {
	t.Parallel()
	forge := newForge(t, true)
	r, err := checkURL("http://x-access-token:s3cret%2Fwith+odd%20chars%25@host/app.git", Credential{})
	if err != nil || r.url != "http://host/app.git" || r.credential.Password != password {
		t.Fatalf("got %q, %v", r.url, err)
	}
	address := strings.Replace(forge.url, "http://", "http://x-access-token:s3cret%2Fwith+odd%20chars%25@", 1) + "/app.git"
	if _, err := Fetch(t.Context(), placeAt(t, sandbox.Bubblewrap), Source{URL: address}); err != nil {
		t.Fatal(err)
	}
}

func TestEachFailureOfARemoteHasItsSentence(t *testing.T) {
	t.Parallel()
	forge := newForge(t, true)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + listener.Addr().String()
	_ = listener.Close()
	fetch := func(url string, c Credential) error {
		_, err := Fetch(t.Context(), placeAt(t, sandbox.Bubblewrap), Source{URL: url, Credential: c})
		return err
	}
	good := Credential{Password: password}
	expect(t, fetch(forge.url+"/app.git", Credential{}), corp.ReasonRepository, corp.KindInvalid, "credential")
	expect(t, fetch(forge.url+"/app.git", Credential{Password: password + "x"}), corp.ReasonRepository, corp.KindInvalid, "credential")
	expect(t, fetch(forge.url+"/app.git", Credential{Password: "a\nhost=evil"}), corp.ReasonRepository, corp.KindInvalid, "credential")
	expect(t, fetch(forge.url+"/nope.git", good), corp.ReasonRepository, corp.KindInvalid, "repository")
	expect(t, fetch(nobody+"/app.git", good), corp.ReasonRepository, corp.KindUnavailable, "repository")
	expect(t, fetch("https://does-not-exist.invalid/app.git", good), corp.ReasonRepository, corp.KindUnavailable, "repository")
	_, err = Fetch(cancelled(t), placeAt(t, sandbox.Bubblewrap), Source{URL: forge.url + "/app.git"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestABadBundleIsRefused(t *testing.T) {
	t.Parallel()
	repository := userRepository(t)
	good, base := bundleOf(t, repository, "")
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	flipped := slices.Clone(content)
	flipped[len(flipped)-30] ^= 1
	sh(t, repository, "git bundle create -q "+dir+"/whole main && git bundle create -q "+dir+"/delta main~1..main && ln -s "+good+" "+dir+"/link && mkfifo "+dir+"/fifo")
	for _, path := range []string{
		write("empty", nil), write("text", []byte("hello\n")), write("cut", content[:len(content)-40]), write("flipped", flipped),
		filepath.Join(dir, "whole"), filepath.Join(dir, "delta"), filepath.Join(dir, "link"), filepath.Join(dir, "fifo"), filepath.Join(dir, "missing"), dir, "relative",
	} {
		_, err := Fetch(t.Context(), placeAt(t, sandbox.Bubblewrap), Source{Bundle: path})
		expect(t, err, corp.ReasonRepository, corp.KindInvalid, "bundle")
	}
	_, err = Fetch(t.Context(), placeAt(t, sandbox.Bubblewrap), Source{Bundle: good, Base: strings.Repeat("1", 40)})
	expect(t, err, corp.ReasonBase, corp.KindInvalid, "base")
	if _, err = Fetch(t.Context(), placeAt(t, sandbox.Bubblewrap), Source{Bundle: good, Base: base.Commit}); err != nil {
		t.Error(err)
	}
}

func TestWhatTheCheckoutCannotHoldIsSaid(t *testing.T) {
	t.Parallel()
	repository := userRepository(t)
	sh(t, repository, `mkdir assets && echo '*.bin filter=lfs diff=lfs merge=lfs -text' > assets/.gitattributes && printf 'version https://git-lfs.github.com/spec/v1\n' > assets/x.bin
		git add . && git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),third_party/lib && git commit -qm more`)
	c := fetchLocal(t, repository, sandbox.Bubblewrap)
	if w := strings.Join(c.Warnings(), "\n"); !strings.Contains(w, "LFS") || !strings.Contains(w, "submodules") || len(c.Warnings()) != 2 {
		t.Errorf("got %q", w)
	}
	if plain := fetchLocal(t, userRepository(t), sandbox.Bubblewrap); len(plain.Warnings()) != 0 {
		t.Errorf("got %q", plain.Warnings())
	}
}

func TestAFullDiskIsToldAsSuch(t *testing.T) {
	t.Parallel()
	for _, said := range []string{"fatal: write error: No space left on device", "error: unable to write file x: Disk quota exceeded"} {
		err := explain(fmt.Errorf("make checkout: %w", &gitError{command: "fetch", said: said, code: 128}), corp.ReasonRepository)
		expect(t, err, corp.ReasonDiskFull, corp.KindUnavailable, "")
	}
}
