package sampler

// Row says how to pick from one row of logits. What changes with every token of a
// sequence stands here, beside Params, which do not. A grammar's mask will be a
// field of Row, applied with what is forbidden.
type Row struct {
	Params Params
	// Position is the absolute position, in its sequence, of the token being
	// picked: the length of the sequence so far.
	Position int64
	// Choice is the index among a request's n choices.
	Choice uint32
	// History is what the sequence has seen. Nil is an empty one; a row whose
	// Params have no penalty, bad words or MinTokens needs none.
	History *History
	// Stop are the tokens that end the sequence, which MinTokens forbids for a
	// while.
	Stop []int32
}

// Late is what a backend's Sample is given and its Launch is not, because it may
// depend on the token before: one Row for each row of logits, in their order. It
// and all that its rows point to must not change until the ticket of Sample is
// done; then it belongs to the caller again.
type Late struct {
	Rows []Row
}
