// Package api holds the wire types of Holdfast's HTTP interface: OpenAI's chat
// completions, completions, models and errors, and vLLM's tokenize, with OpenAI's field names.
//
// Decoding is strict where leniency would hide a mistake and lenient where
// clients differ harmlessly:
//
//   - duplicate names, invalid UTF-8, values of the wrong type or out of range
//     are refused with an [Error] that names the parameter;
//   - a parameter that OpenAI or vLLM know and that would change the answer,
//     but that this server does not serve, is refused with the code
//     unsupported_parameter, unless its value asks for nothing;
//   - a parameter that nobody knows is ignored, and null equals absent.
//
// The package is shared by server, client and load generator, so it imports
// nothing of theirs.
package api

// Limits on a request. Each is checked before work proportional to what it
// limits is done.
const (
	MaxBodyBytes    = 4 << 20 // a request's body
	MaxDepth        = 64      // nested JSON arrays and objects
	MaxMembers      = 1 << 14 // members of all JSON objects together
	MaxMessages     = 1024    // messages of a conversation
	MaxParts        = 1024    // content parts of a message
	MaxPrompts      = 64      // prompts of one completion request
	MaxChoices      = 128     // completions of one request: n for each prompt
	MaxPriority     = 8       // priority, either way
	MaxTopLogprobs  = 20      // top_logprobs, and logprobs of a completion
	MaxTemplateVars = 32      // chat_template_kwargs
	MaxStops        = 4       // stop strings
	MaxStopBytes    = 1024    // one stop string
	MaxStopTokens   = 128     // stop_token_ids
	MaxBadWords     = 512     // bad_words
	MaxBadWordBytes = 512     // one bad word
	MaxTokenIDs     = 1 << 20 // any list of token IDs
	MaxTopK         = 1 << 20 // top_k
	MaxTemperature  = 2.0     // temperature
	MaxPenalty      = 2.0     // frequency_penalty and presence_penalty, either way
	MaxBiases       = 1024    // tokens in logit_bias
	MaxBias         = 100     // a value in logit_bias, either way
)
