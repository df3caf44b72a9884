// Package chat turns a conversation into the model's prompt: it renders the
// chat template that came with the model, as text ([Template.Render]) or as
// tokens ([Template.Tokens]).
//
// The template is data from a model file and the conversation is a client's;
// neither is trusted. A render has a budget of steps, bytes and depth (the
// constants of this package) and ends with [ErrBudget] when it exceeds one.
// What a client wrote stays text: each byte of it is marked, the marks follow
// it through every operation of the template, and only the template's own
// bytes can become special tokens. Templates come from model files and
// operators; requests cannot bring their own.
//
// # Caveats
//
// A role of the closed set that the API accepts counts as the template's own
// text, because some templates spell special tokens with it
// ('<|' + message.role + '|>'). Any other role is client text.
//
// A template that changes the case of a text, escapes it, or writes it as JSON
// makes a new text of it, which is the client's throughout if any byte was.
package chat
