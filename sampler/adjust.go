package sampler

import "math"

// adjust returns the row with biases, what is forbidden and penalties applied:
// logits itself where nothing is, otherwise a copy, so that logits may be read by
// others meanwhile. It costs the copy and the number of tokens that it changes.
// A number that it replaces may be a sign that the row is poisoned: it is looked
// at here, as the others are by argmax.
func (s *Scratch) adjust(logits []float32, row *Row) ([]float32, error) {
	p := &row.Params
	if !p.adjusts() {
		return logits, nil
	}
	s.forbidden = row.AppendForbidden(s.forbidden[:0])
	seen := row.History.Seen()
	if !p.penalises() {
		seen = nil
	}
	if len(p.LogitBias) == 0 && len(s.forbidden) == 0 && len(seen) == 0 {
		return logits, nil
	}
	s.adjusted = append(s.adjusted[:0], logits...)
	n := uint(len(logits))
	poisoned := false
	for _, b := range p.LogitBias {
		if i := uint(b.Token); i < n {
			poisoned = poisoned || isPoison(s.adjusted[i])
			s.adjusted[i] = biased(s.adjusted[i], b.Value)
		}
	}
	for _, t := range s.forbidden {
		if i := uint(t); i < n {
			poisoned = poisoned || isPoison(s.adjusted[i])
			s.adjusted[i] = negInf
		}
	}
	for i := range seen {
		if j := uint(seen[i].Token); j < n {
			poisoned = poisoned || isPoison(s.adjusted[j])
			s.adjusted[j] = p.penalised(s.adjusted[j], &seen[i])
		}
	}
	if poisoned {
		return nil, ErrNaN
	}
	return s.adjusted, nil
}

var negInf = float32(math.Inf(-1))

// isPoison reports whether a logit is NaN or +Inf.
func isPoison(logit float32) bool { return !(logit <= math.MaxFloat32) }

// biased returns a logit with its bias.
func biased(logit float32, bias float64) float32 {
	return finite(float64(logit)+bias, logit)
}

// penalised returns the logit of a token that was seen. Every operation is
// rounded to float64, and the last result to float32.
func (p *Params) penalised(logit float32, seen *Seen) float32 {
	x := float64(logit)
	if p.repeats() {
		if x > 0 {
			x = float64(x / p.RepetitionPenalty)
		} else {
			x = float64(x * p.RepetitionPenalty)
		}
	}
	if seen.Output > 0 {
		x -= float64(p.FrequencyPenalty * float64(seen.Output))
		x -= p.PresencePenalty
	}
	return finite(x, logit)
}

// finite rounds what became of a logit to float32. It stays -Inf if it was;
// otherwise it is held between the finite numbers.
func finite(x float64, was float32) float32 {
	if f := float32(x); f >= -math.MaxFloat32 && f <= math.MaxFloat32 {
		return f
	}
	if was == negInf {
		return was
	}
	return float32(min(max(x, -math.MaxFloat32), math.MaxFloat32))
}
