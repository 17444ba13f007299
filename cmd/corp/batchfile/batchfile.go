// Package batchfile reads the tasks of a batch from a file that a person wrote, and says
// what is wrong with it in that person's words.
//
// It fills in nothing, and does not know where the code of a task is.
package batchfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/genericcorp/corp"
)

// maxBatchFile is the largest file that is read: what the server takes.
const maxBatchFile = 32 << 20

// Read reads the tasks of a file by its name, or of in when that is -: YAML, JSON or JSON
// Lines. What is wrong is an invalid error that names the place.
func Read(in io.Reader, name string) (spec corp.BatchSpec, err error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return spec, &corp.Error{Kind: corp.KindInvalid, Field: "file", Message: "The file cannot be read.", Hint: "Name a file with tasks, or - for the standard input.", Err: err}
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxBatchFile+1))
	if err != nil {
		return spec, fmt.Errorf("read the batch: %w", err)
	}
	if len(text) > maxBatchFile {
		return spec, corp.Invalid("file", "The file is larger than 32 MB.", "Split it into several batches.")
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jsonl", ".ndjson":
		spec.Tasks, err = readLines(text)
		return spec, err
	case ".json":
		return readTree(text, "JSON", json.Unmarshal)
	default:
		return readTree(text, "YAML", yaml.Unmarshal)
	}
}

// readLines reads one task from each line.
func readLines(text []byte) (tasks []corp.BatchTask, err error) {
	for i, line := range bytes.Split(text, []byte("\n")) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var t corp.BatchTask
		if err := strictly(line, &t); err != nil {
			return nil, notATask(fmt.Sprintf("line %d", i+1), err)
		}
		tasks = append(tasks, t)
	}
	return tasks, holdsSome(tasks)
}

// readTree reads a list of tasks or an object that has one. It ends with JSON, so
// that both formats have the same names.
func readTree(text []byte, format string, read func([]byte, any) error) (spec corp.BatchSpec, err error) {
	var v any
	if err := read(text, &v); err != nil {
		return spec, corp.Invalid("file", fmt.Sprintf("The file is not %s: %v.", format, err), batchHint)
	}
	if list, bare := v.([]any); bare {
		v = map[string]any{"tasks": list}
	}
	var raw struct {
		Tasks []json.RawMessage `json:"tasks"`
	}
	text, err = json.Marshal(v)
	if err == nil {
		err = strictly(text, &raw)
	}
	if err != nil {
		return spec, corp.Invalid("file", "The file does not hold a list of tasks: "+inWords(err)+".", batchHint)
	}
	spec.Tasks = make([]corp.BatchTask, len(raw.Tasks))
	for i, task := range raw.Tasks {
		if err := strictly(task, &spec.Tasks[i]); err != nil {
			return spec, notATask(fmt.Sprintf("tasks[%d]", i), err)
		}
	}
	return spec, holdsSome(spec.Tasks)
}

const batchHint = "See \"corp batch submit --help\" for what it looks like."

func holdsSome(tasks []corp.BatchTask) error {
	if len(tasks) == 0 {
		return corp.Invalid("file", "The file holds no task.", batchHint)
	}
	return nil
}

func notATask(place string, err error) error {
	return corp.Invalid(place, "That is not a task: "+inWords(err)+".", "The fields and their types are those of a batch's tasks in docs/openapi.yaml.")
}

// inWords says what is wrong with a value in the words of whoever wrote it,
// which are not those of our types.
func inWords(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return "it is a " + wrong.Value
		}
		return fmt.Sprintf("the field %q cannot be a %s", strings.TrimPrefix(wrong.Field, "TaskSpec."), wrong.Value)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// strictly reads one JSON value; a field that nobody knows is a mistake of the user's.
func strictly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after it")
	}
	return nil
}
