package embedded

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/genericcorp/corp"
)

// account is the user that PostgreSQL runs as. PostgreSQL refuses to be root.
type account struct {
	uid, gid int
	drop     bool // we are root and become that user
}

// chooseAccount decides who runs PostgreSQL. A cluster keeps the user that it
// was made with.
func chooseAccount(runAs, data string) (account, error) {
	owner, exists, err := ownerOf(data)
	if err != nil {
		return account{}, err
	}
	if os.Geteuid() != 0 {
		self := account{uid: os.Geteuid(), gid: os.Getegid()}
		if exists && owner.uid != self.uid {
			return account{}, corp.Invalid("dir", "The database in "+data+" belongs to user "+strconv.Itoa(owner.uid)+", not to you.",
				"Run as that user or as root, or use another folder with --data.")
		}
		return self, nil
	}
	if exists && owner.uid == 0 {
		return account{}, corp.Invalid("dir", "The database in "+data+" belongs to root, and PostgreSQL does not run as root.",
			"Give it to another user with chown -R.")
	}
	if runAs == "" && exists {
		return owner, nil
	}
	chosen, err := lookUp(runAs)
	if err != nil {
		return account{}, err
	}
	if exists && owner.uid != chosen.uid {
		return account{}, corp.Invalid("run_as", "The database in "+data+" belongs to user "+strconv.Itoa(owner.uid)+", not to "+runAs+".",
			"Leave the user out, or give the folder to the other one with chown -R.")
	}
	return chosen, nil
}

func lookUp(name string) (account, error) {
	names := []string{name}
	if name == "" {
		names = []string{"postgres", "nobody"}
	}
	for _, n := range names {
		u, err := user.Lookup(n)
		if err != nil {
			u, err = user.LookupId(n)
		}
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return account{}, err
		}
		if uid == 0 {
			return account{}, corp.Invalid("run_as", "PostgreSQL does not run as root.", "Name another user.")
		}
		return account{uid: uid, gid: gid, drop: true}, nil
	}
	return account{}, corp.Invalid("run_as", "There is no user to run PostgreSQL as; it does not run as root.",
		"Create a user named postgres, or name one that exists.")
}

// ownerOf returns who owns a folder, as the account to use when we are root.
func ownerOf(dir string) (owner account, exists bool, err error) {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return account{}, false, nil
	}
	if err != nil {
		return account{}, false, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return account{}, false, errors.New("no owner known for " + dir)
	}
	return account{uid: int(st.Uid), gid: int(st.Gid), drop: true}, true, nil
}

// own gives a tree that nobody else can enter to the account, the top last, so
// that no name in it changes under our feet.
func (a account) own(top string) error {
	if !a.drop {
		return nil
	}
	var names []string
	err := filepath.WalkDir(top, func(name string, _ fs.DirEntry, err error) error {
		names = append(names, name)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Backward(names) {
		if err := os.Lchown(name, a.uid, a.gid); err != nil {
			return err
		}
	}
	return nil
}

// credential is what a child process needs to become the account.
func (a account) credential() *syscall.Credential {
	if !a.drop {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
}

// reach checks that the account can work in dir. A child becomes the account,
// then enters dir, then runs its program: with a program that does not exist,
// only the second step can be a matter of rights.
func (a account) reach(dir string) error {
	if !a.drop {
		return nil
	}
	_, err := spawn(command(filepath.Join(dir, "no-such-program"), a, dir))
	if errors.Is(err, fs.ErrPermission) {
		return a.unreachable(dir, err)
	}
	return nil
}

// unreachable explains why the account cannot work in dir: it names the first
// folder on the way that it cannot enter, if the mode bits show one.
func (a account) unreachable(dir string, cause error) error {
	at := dir
	for p := dir; ; p = filepath.Dir(p) {
		info, err := os.Stat(p)
		if err == nil && !a.enters(info) {
			at = p
		}
		if p == filepath.Dir(p) {
			break
		}
	}
	return &corp.Error{
		Kind: corp.KindInvalid, Field: "dir", Err: cause,
		Message: "PostgreSQL runs as user " + strconv.Itoa(a.uid) + ", which cannot enter " + at + ".",
		Hint:    "Use a folder that other users can pass through, such as /var/lib/corp, or run corp as an ordinary user.",
	}
}

func (a account) enters(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return true
	case int(st.Uid) == a.uid:
		return info.Mode().Perm()&0o100 != 0
	case int(st.Gid) == a.gid:
		return info.Mode().Perm()&0o010 != 0
	default:
		return info.Mode().Perm()&0o001 != 0
	}
}
