package stage

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Mutation is a deliberate fault: in one file one text, which stands there once, is
// another. A suite that does not notice it keeps no promise.
type Mutation struct {
	Name string `yaml:"name"`
	File string `yaml:"file"` // from the top of the module
	Old  string `yaml:"old"`
	New  string `yaml:"new"`
}

// Fits returns an error when the mutation's old text does not stand in its file
// exactly once. top is the folder of the module.
func (m Mutation) Fits(top string) error {
	source, err := os.ReadFile(filepath.Join(top, m.File))
	if err != nil {
		return err
	}
	if n := strings.Count(string(source), m.Old); n != 1 || m.Old == m.New {
		return fmt.Errorf("%s: its old text stands %d times in %s", m.Name, n, m.File)
	}
	return nil
}

// Overlay makes a folder with the mutated file and the list that has the compiler
// take it, and returns where the list is: for the flag -overlay.
func (m Mutation) Overlay(top, dir string) (list string, err error) {
	file, err := filepath.Abs(filepath.Join(top, m.File))
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	out, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = out.Close() }()
	const mutated, overlay = "mutated.txt", "overlay.json"
	text, err := json.Marshal(map[string]map[string]string{"Replace": {file: filepath.Join(dir, mutated)}})
	if err != nil {
		return "", err
	}
	if err := out.WriteFile(mutated, []byte(strings.Replace(string(source), m.Old, m.New, 1)), 0o600); err != nil {
		return "", err
	}
	return filepath.Join(dir, overlay), out.WriteFile(overlay, text, 0o600)
}
