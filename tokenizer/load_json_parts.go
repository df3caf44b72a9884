package tokenizer

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxSequence bounds how deep a Sequence may lie in others, and its length.
const maxSequence = 16

// maxGrowth bounds how many bytes all normalizers together may make of one: each
// works on what the one before has made, so a few of them may ask for any number.
// A mark before the text and marks for its spaces, as in Llama 2, count 4 times 3.
const maxGrowth = 64

// parsePart reads a part into a struct that has all of its members.
func parsePart(name string, data jsontext.Value, into any) error {
	if err := json.Unmarshal(data, into, json.RejectUnknownMembers(true), json.MatchCaseInsensitiveNames(true)); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnsupported, name, err)
	}
	return nil
}

// eachPart calls f for a part, or for each part of a Sequence; not at all for
// null. name is where the part stands, for errors.
func eachPart(name string, data jsontext.Value, list string, f func(name, kind string, data jsontext.Value) error) error {
	return eachPartWithin(name, data, list, 0, f)
}

func eachPartWithin(name string, data jsontext.Value, list string, depth int, f func(name, kind string, data jsontext.Value) error) error {
	if len(data) == 0 || data.Kind() == 'n' {
		return nil
	}
	var part struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &part); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrVocabulary, name, err)
	}
	if part.Type != "Sequence" {
		return f(name, part.Type, data)
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(data, &members); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrVocabulary, name, err)
	}
	var parts []jsontext.Value
	if err := json.Unmarshal(members[list], &parts); err != nil {
		return fmt.Errorf("%w: %s.%s: %w", ErrVocabulary, name, list, err)
	}
	if depth == maxSequence || len(parts) > maxSequence {
		return fmt.Errorf("%w: %s.%s: more than %d parts, in each other or in one", ErrVocabulary, name, list, maxSequence)
	}
	for i, p := range parts {
		if err := eachPartWithin(fmt.Sprintf("%s.%s[%d]", name, list, i), p, list, depth+1, f); err != nil {
			return err
		}
	}
	return nil
}

// jsonPattern is what Split and Replace look for.
type jsonPattern struct {
	String *string
	Regex  *string
}

// literal returns the pattern if it is a string, or an expression that is one.
func (p jsonPattern) literal() (string, bool) {
	if p.String != nil {
		return *p.String, *p.String != ""
	}
	if p.Regex == nil || *p.Regex == "" || strings.ContainsAny(*p.Regex, `\.+*?()|[]{}^$`) {
		return "", false
	}
	return *p.Regex, true
}

// shown returns the pattern for an error.
func (p jsonPattern) shown() string {
	switch {
	case p.String != nil:
		return fmt.Sprintf("%q", *p.String)
	case p.Regex != nil:
		return *p.Regex
	}
	return "nothing"
}

func (l *jsonLoader) normalizer() error {
	return eachPart("normalizer", l.file.Normalizer, "normalizers", func(name, kind string, data jsontext.Value) error {
		var s step
		grows := 1 // bytes of one, at most
		switch kind {
		case "NFC":
			s, grows = nfcStep, 3 // unicode.org/faq/normalization.html
		case "Prepend":
			var p struct{ Type, Prepend string }
			if err := parsePart(name, data, &p); err != nil {
				return err
			}
			s, grows = prependStep(p.Prepend), 1+len(p.Prepend)
		case "Strip":
			var p struct {
				Type  string
				Left  bool `json:"strip_left"`
				Right bool `json:"strip_right"`
			}
			if err := parsePart(name, data, &p); err != nil {
				return err
			}
			s = stripStep(p.Left, p.Right)
		case "Replace":
			var p struct {
				Type    string
				Pattern jsonPattern
				Content string
			}
			if err := parsePart(name, data, &p); err != nil {
				return err
			}
			if text, ok := p.Pattern.literal(); ok {
				s, grows = replaceStep(text, p.Content), (len(p.Content)+len(text)-1)/len(text)
			} else if p.Pattern.Regex != nil && *p.Pattern.Regex == " {2,}" {
				s, grows = squeezeStep(p.Content), (len(p.Content)+1)/2
			} else {
				return fmt.Errorf("%w: %s: Replace of %s", ErrUnsupported, name, p.Pattern.shown())
			}
		default:
			return fmt.Errorf("%w: %s.type = %q, known are NFC, Prepend, Replace, Sequence, Strip", ErrUnsupported, name, kind)
		}
		if l.growth = max(l.growth, 1) * max(grows, 1); l.growth > maxGrowth {
			return fmt.Errorf("%w: %s: with those before it, more than %d bytes of one", ErrUnsupported, name, maxGrowth)
		}
		l.t.steps = append(l.t.steps, s)
		return nil
	})
}

// patterns are the expressions of Split that we have a scanner for.
var patterns = map[string]scanner{
	`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`:                                          nextGPT2,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: nextLlama3,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:      nextQwen2,
	`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?` +
		`|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?` +
		`|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`: nextO200K,
	`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+` +
		`|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*` +
		`|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`: nextTekken,
}

func (l *jsonLoader) preTokenizer() error {
	return eachPart("pre_tokenizer", l.file.PreTokenizer, "pretokenizers", func(name, kind string, data jsontext.Value) error {
		if l.byteLevel {
			return fmt.Errorf("%w: %s = %s after ByteLevel", ErrUnsupported, name, kind)
		}
		switch kind {
		case "ByteLevel":
			return l.byteLevelPart(name, data)
		case "Metaspace":
			return l.metaspace(name, data)
		case "Digits":
			var p struct {
				Type string
				Each bool `json:"individual_digits"`
			}
			err := parsePart(name, data, &p)
			l.t.cuts = append(l.t.cuts, nextDigits(p.Each))
			return err
		case "Split":
			return l.split(name, data)
		}
		return fmt.Errorf("%w: %s.type = %q, known are ByteLevel, Digits, Metaspace, Sequence, Split", ErrUnsupported, name, kind)
	})
}

func (l *jsonLoader) byteLevelPart(name string, data jsontext.Value) error {
	p := struct {
		Type     string
		Prefix   bool `json:"add_prefix_space"`
		Trim     bool `json:"trim_offsets"`
		UseRegex bool `json:"use_regex"`
	}{UseRegex: true}
	if err := parsePart(name, data, &p); err != nil {
		return err
	}
	if p.Prefix || len(l.t.wordSteps) > 0 {
		return fmt.Errorf("%w: %s.add_prefix_space = %t, or a Metaspace before it", ErrUnsupported, name, p.Prefix)
	}
	l.byteLevel = true
	if p.UseRegex {
		l.t.cuts = append(l.t.cuts, nextGPT2)
	}
	return nil
}

func (l *jsonLoader) metaspace(name string, data jsontext.Value) error {
	var p struct {
		Type        string
		Replacement string
		Split       *bool
		Prefix      *bool  `json:"add_prefix_space"` // of files before prepend_scheme
		Scheme      string `json:"prepend_scheme"`
		Spelled     string `json:"str_rep"`
	}
	if err := parsePart(name, data, &p); err != nil {
		return err
	}
	scheme := p.Scheme
	if p.Prefix != nil && !*p.Prefix && scheme == "" {
		scheme = "never"
	}
	prefix, ok := map[string]prefixRule{"": prefixAlways, "always": prefixAlways, "first": prefixFirst, "never": prefixNever}[scheme]
	if !ok || p.Replacement != spaceMark || len(l.t.cuts)+len(l.t.wordSteps) > 0 {
		return fmt.Errorf("%w: %s: Metaspace with %q and %q, or after others", ErrUnsupported, name, p.Replacement, scheme)
	}
	l.t.wordSteps = []step{metaspaceStep(prefix)}
	if p.Split == nil || *p.Split {
		l.t.cuts = append(l.t.cuts, nextMark)
	}
	return nil
}

func (l *jsonLoader) split(name string, data jsontext.Value) error {
	var p struct {
		Type     string
		Pattern  jsonPattern
		Behavior string
		Invert   bool
	}
	if err := parsePart(name, data, &p); err != nil {
		return err
	}
	var cut scanner
	if p.Pattern.Regex != nil {
		// These expressions match all of a text, so what is between matches, which
		// Removed with invert takes out, is nothing.
		if !p.Invert && p.Behavior == "Isolated" || p.Invert && p.Behavior == "Removed" {
			cut = patterns[*p.Pattern.Regex]
		}
	} else if sep, ok := p.Pattern.literal(); ok && !p.Invert {
		switch p.Behavior {
		case "Isolated":
			cut = func(s string) int { return nextAround(s, sep) }
		case "MergedWithPrevious":
			cut = func(s string) int { return nextAfter(s, sep) }
		case "MergedWithNext":
			cut = func(s string) int { return nextBefore(s, sep) }
		}
	}
	if cut == nil {
		return fmt.Errorf("%w: %s: Split at %s, %s, invert = %t", ErrUnsupported, name, p.Pattern.shown(), p.Behavior, p.Invert)
	}
	l.t.cuts = append(l.t.cuts, cut)
	return nil
}

// postProcessor reads what TemplateProcessing puts around one text.
func (l *jsonLoader) postProcessor() error {
	return eachPart("post_processor", l.file.PostProcessor, "processors", func(name, kind string, data jsontext.Value) error {
		switch kind {
		case "ByteLevel": // about offsets only
			return nil
		case "TemplateProcessing":
			return l.template(name, data)
		}
		return fmt.Errorf("%w: %s.type = %q, known are ByteLevel, Sequence, TemplateProcessing", ErrUnsupported, name, kind)
	})
}

func (l *jsonLoader) template(name string, data jsontext.Value) error {
	type item struct {
		ID   string `json:"id"`
		Type int    `json:"type_id"`
	}
	var p struct {
		Type   string
		Single []struct {
			SpecialToken *item
			Sequence     *item
		}
		Pair    jsontext.Value
		Special jsontext.Value `json:"special_tokens"`
	}
	if err := parsePart(name, data, &p); err != nil {
		return err
	}
	seen := false
	for _, s := range p.Single {
		switch {
		case s.Sequence != nil && !seen:
			seen = true
		case s.SpecialToken != nil && !seen && l.begin == "":
			l.begin = s.SpecialToken.ID
		case s.SpecialToken != nil && seen && l.end == "":
			l.end = s.SpecialToken.ID
		default:
			return fmt.Errorf("%w: %s.single: more than one token before or after the text", ErrUnsupported, name)
		}
	}
	return nil
}

// decoder reads how tokens become text.
func (l *jsonLoader) decoder() error {
	var bytes, spaces bool
	err := eachPart("decoder", l.file.Decoder, "decoders", func(name, kind string, data jsontext.Value) error {
		switch kind {
		case "ByteLevel":
			bytes = true
			return nil
		case "ByteFallback":
			l.unbyte = true
			return nil
		case "Fuse":
			return nil
		case "Metaspace":
			var p struct {
				Type, Replacement string
				Split             *bool
				Prefix            *bool  `json:"add_prefix_space"`
				Scheme            string `json:"prepend_scheme"`
				Spelled           string `json:"str_rep"`
			}
			if err := parsePart(name, data, &p); err != nil {
				return err
			}
			if p.Replacement != spaceMark {
				return fmt.Errorf("%w: %s.replacement = %q", ErrUnsupported, name, p.Replacement)
			}
			spaces = true
			if p.Scheme != "never" && (p.Prefix == nil || *p.Prefix || p.Scheme != "") {
				l.t.leading = leadingToken
			}
			return nil
		case "Replace":
			var p struct {
				Type    string
				Pattern jsonPattern
				Content string
			}
			if err := parsePart(name, data, &p); err != nil {
				return err
			}
			if text, ok := p.Pattern.literal(); !ok || text != spaceMark || p.Content != " " {
				return fmt.Errorf("%w: %s: Replace of %s by %q", ErrUnsupported, name, p.Pattern.shown(), p.Content)
			}
			spaces = true
			return nil
		case "Strip":
			var p struct {
				Type, Content string
				Start, Stop   int
			}
			if err := parsePart(name, data, &p); err != nil {
				return err
			}
			if p.Content != " " || p.Start != 1 || p.Stop != 0 {
				return fmt.Errorf("%w: %s: Strip of %d and %d %q", ErrUnsupported, name, p.Start, p.Stop, p.Content)
			}
			l.t.leading = leadingOne
			return nil
		}
		return fmt.Errorf("%w: %s.type = %q, known are ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip", ErrUnsupported, name, kind)
	})
	if err != nil {
		return err
	}
	if bytes != l.byteLevel || spaces == l.byteLevel || l.unbyte && l.byteLevel {
		return fmt.Errorf("%w: decoder does not undo pre_tokenizer: ByteLevel in one and not in the other, or no space for %q", ErrUnsupported, spaceMark)
	}
	return nil
}
