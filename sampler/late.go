package sampler

// Row says how to pick from one row of logits. What changes with every token of a
// sequence stands here, beside Params, which do not: a grammar's mask, penalty
// deltas and logit biases will be fields of Row, applied to the logits in that
// order before Pick's first step.
type Row struct {
	Params Params
	// Position is the absolute position, in its sequence, of the token being
	// picked: the length of the sequence so far.
	Position int64
	// Choice is the index among a request's n choices.
	Choice uint32
}

// Late is what a backend's Sample is given and its Launch is not, because it may
// depend on the token before: one Row for each row of logits, in their order. It
// belongs to the caller again once the ticket of Sample is done.
type Late struct {
	Rows []Row
}
