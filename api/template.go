package api

import (
	"math"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// TemplateVars are further names for a chat template, such as enable_thinking.
// On the wire they are an object of scalars: nil, bool, string, int64 or float64.
type TemplateVars map[string]any

// UnmarshalJSONFrom implements json.UnmarshalerFrom; it stops at MaxTemplateVars.
func (v *TemplateVars) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*v = nil
	if dec.PeekKind() == 'n' {
		return dec.SkipValue()
	}
	all := TemplateVars{}
	err := readObject(dec, func(name string) (err error) {
		if len(all) == MaxTemplateVars {
			return BadRequest(CodeInvalidValue, "chat_template_kwargs", "'chat_template_kwargs' may have at most %d members.", MaxTemplateVars)
		}
		all[name], err = readScalar(dec)
		return err
	})
	*v = all
	return err
}

// readScalar reads null, a boolean, a string or a number; one without fraction
// that fits an int64 is one.
func readScalar(dec *jsontext.Decoder) (any, error) {
	if k := dec.PeekKind(); k == '{' || k == '[' {
		if err := dec.SkipValue(); err != nil {
			return nil, err
		}
		at := paramName(dec.StackPointer())
		return nil, BadRequest(CodeUnsupportedParameter, at, "'%s' must be null, a boolean, a string or a number; lists and objects are not supported there.", at)
	}
	var v any
	if err := json.UnmarshalDecode(dec, &v); err != nil {
		return nil, err
	}
	const exact = 1 << 53 // a float64 holds integers to here
	if f, ok := v.(float64); ok && f == math.Trunc(f) && math.Abs(f) <= exact {
		return int64(f), nil
	}
	return v, nil
}
