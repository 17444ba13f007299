package api

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// serveDocument serves the API's own description, which holds nothing secret.
func (a *API) serveDocument(mux *http.ServeMux) (err error) {
	if a.documentJSON, err = json.Marshal(a.document); err != nil {
		return fmt.Errorf("write the description of the api: %w", err)
	}
	if a.documentYAML, err = a.document.YAML(); err != nil {
		return fmt.Errorf("write the description of the api: %w", err)
	}
	mux.HandleFunc("GET /openapi.json", serveBytes("application/openapi+json", a.documentJSON))
	mux.HandleFunc("GET /openapi.yaml", serveBytes("application/openapi+yaml", a.documentYAML))
	return nil
}

func serveBytes(media string, data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		_, _ = w.Write(data) // the client may be gone
	}
}
