package seal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Load reads the installation's secret from the file at path, and makes the file
// on first use. Two processes that start at the same time agree on one secret.
// It refuses a file that anybody but its owner may read, because a secret that
// was readable must be taken as known.
func Load(path string) (*Ring, error) {
	secret, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeSecret(path); err != nil {
			return nil, fmt.Errorf("make the secret file %s: %w", path, err)
		}
		secret, err = readSecret(path)
	}
	if err != nil {
		return nil, err
	}
	return New(secret)
}

// readSecret checks the opened file and not the name, which could be changed in between.
func readSecret(path string) (secret []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the secret file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the secret file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the secret file %s is not a regular file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the secret file %s may be read by others (mode %04o): run chmod 600 on it, and replace the keys it protects if others use this machine", path, info.Mode().Perm())
	}
	text := make([]byte, 2*SecretSize+2)
	n, _ := f.Read(text)
	secret, err = hex.DecodeString(strings.TrimSuffix(string(text[:n]), "\n"))
	if err != nil || len(secret) != SecretSize {
		return nil, fmt.Errorf("the secret file %s does not hold %d hexadecimal digits: restore it from a backup, since what it sealed opens with nothing else", path, 2*SecretSize)
	}
	return secret, nil
}

// makeSecret puts a whole, durable file in place, or leaves the one that another
// process put there first: link, unlike rename, never replaces.
func makeSecret(path string) error {
	secret := make([]byte, SecretSize)
	_, _ = rand.Read(secret) // crypto/rand.Read never fails
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".secret-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(hex.EncodeToString(secret) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in a folder survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
