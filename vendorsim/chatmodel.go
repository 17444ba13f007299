package vendorsim

import "time"

// chatModel is a model as the vendor lists it.
type chatModel struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"` // seconds since 1970
	OwnedBy string `json:"owned_by"`
}

// chatModelList is the whole list; the dialect has no pages.
type chatModelList struct {
	Object string      `json:"object"`
	Data   []chatModel `json:"data"`
}

func (m *Model) chat() chatModel {
	at, err := time.Parse(time.RFC3339, m.wire().CreatedAt)
	if err != nil { // the other dialect passes any text on
		at = time.Unix(0, 0)
	}
	return chatModel{m.ID, "model", at.Unix(), "system"}
}

func chatModels(models []Model) chatModelList {
	out := chatModelList{Object: "list", Data: []chatModel{}}
	for i := range models {
		out.Data = append(out.Data, models[i].chat())
	}
	return out
}
