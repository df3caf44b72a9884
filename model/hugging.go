package model

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-run/holdfast/weights"
)

// hugging is what a model_type of config.json (huggingface/transformers) is to us.
// What config.json leaves out is what transformers takes for it.
type hugging struct {
	family     string
	activation string // hidden_act or hidden_activation
	tied       bool   // tie_word_embeddings, if the file does not say
	// normsAddOne: the factor of a norm is its weight and 1.
	normsAddOne bool
	// names are the layer's tensors that are called otherwise than in hfNames.
	names map[string]string
	// read reads what FromFolder does not read for every family.
	read func(*folder, *Config)
}

// hfTypes has the families by config.json's model_type.
var hfTypes = map[string]hugging{
	"llama":       {family: "llama", activation: "silu"},
	"mistral":     {family: "llama", activation: "silu", read: mistralFolder},
	"granite":     {family: "granite", activation: "silu", read: graniteFolder},
	"qwen2":       {family: "qwen2", activation: "silu", read: qwenFolder},
	"qwen3":       {family: "qwen3", activation: "silu", read: qwenFolder},
	"phi3":        {family: "phi3", activation: "silu", names: phiNames, read: phiFolder},
	"gemma2":      {family: "gemma2", activation: "gelu_pytorch_tanh", tied: true, normsAddOne: true, names: gemmaNames, read: gemma2Folder},
	"gemma3_text": {family: "gemma3", activation: "gelu_pytorch_tanh", tied: true, normsAddOne: true, names: gemmaNames, read: gemma3Folder},
	"gemma3":      {family: "gemma3", activation: "gelu_pytorch_tanh", tied: true, normsAddOne: true, names: gemmaNames, read: gemma3Folder},
}

// folder reads config.json. The first error sticks. A key that holds null counts
// as absent.
type folder struct {
	path   string // of config.json
	values map[string]jsontext.Value
	kind   hugging
	root   *folder // of an object in config.json: what has its errors
	err    error
}

const maxConfigKeys = 1 << 12

// openConfig reads the config.json of f.
func openConfig(f *weights.File) (*folder, error) {
	data, err := f.Text("config.json")
	if err != nil {
		return nil, err
	}
	return parseConfig(filepath.Join(f.Path(), "config.json"), data)
}

func parseConfig(path string, data []byte) (*folder, error) {
	s := &folder{path: path}
	if err := json.Unmarshal(data, &s.values); err != nil {
		return nil, fmt.Errorf("model: %s: %w", s.path, err)
	}
	if len(s.values) > maxConfigKeys {
		return nil, fmt.Errorf("model: %s: %d keys, limit %d", s.path, len(s.values), maxConfigKeys)
	}
	kind := s.stringOr("model_type", "")
	var ok bool
	if s.kind, ok = hfTypes[kind]; !ok || s.has("text_config") {
		s.fail(fmt.Errorf("%w: %s: model_type %q, text_config %t; known, without one: %s", ErrUnsupported, s.path, kind, s.has("text_config"),
			strings.Join(slices.Sorted(maps.Keys(hfTypes)), ", ")))
	}
	if s.has("quantization_config") {
		s.fail(fmt.Errorf("%w: %s: quantization_config: weights that are quantised in safetensors; take the model's own, and --quantize", ErrUnsupported, s.path))
	}
	return s, s.err
}

// FromFolder returns the hyperparameters that the config.json of f states.
func FromFolder(f *weights.File) (*Config, error) {
	s, err := openConfig(f)
	if err != nil {
		return nil, err
	}
	return s.config()
}

// FromJSON returns the hyperparameters that a config.json states; path is what
// errors call it.
func FromJSON(path string, data []byte) (*Config, error) {
	s, err := parseConfig(path, data)
	if err != nil {
		return nil, err
	}
	return s.config()
}

func (s *folder) config() (*Config, error) {
	c := &Config{Family: s.kind.family, Source: s.path, foreign: s.foreignName}
	c.Layers = s.int("num_hidden_layers", maxLayers)
	c.Context = s.int("max_position_embeddings", maxContext)
	c.Width = s.int("hidden_size", maxWidth)
	c.FFN = s.int("intermediate_size", maxWidth)
	c.Heads = s.int("num_attention_heads", maxWidth)
	c.KVHeads = s.intOr("num_key_value_heads", c.Heads, maxWidth)
	c.HeadDim = s.intOr("head_dim", max(c.Width/c.Heads, 1), maxHeadDim)
	c.Vocab = s.int("vocab_size", maxVocab)
	c.NormEps = s.floatOr("rms_norm_eps", 1e-6)
	s.activation()
	c.RoPE = s.rope(c, "full_attention")
	if s.kind.read != nil {
		s.kind.read(s, c)
	}
	return c, s.err
}

// activation refuses any but the family's.
func (s *folder) activation() {
	for _, key := range []string{"hidden_act", "hidden_activation"} {
		if a := s.stringOr(key, s.kind.activation); a != s.kind.activation {
			s.fail(fmt.Errorf("%w: %s: %s %q; %s has %q", ErrUnsupported, s.path, key, a, s.kind.family, s.kind.activation))
		}
	}
}

// tied reports whether the head is the embedding's matrix.
func (s *folder) tied() bool { return s.boolOr("tie_word_embeddings", s.kind.tied) }

// mistralFolder: every layer has the window.
func mistralFolder(s *folder, c *Config) {
	c.Window = s.windowOr(4096)
	s.layerTypes(c, nil)
}

// qwenFolder: the layers from max_window_layers on have a window, if any has.
func qwenFolder(s *folder, c *Config) {
	if s.kind.family == "qwen3" {
		c.HeadDim = s.intOr("head_dim", 128, maxHeadDim)
	}
	if !s.boolOr("use_sliding_window", false) {
		return
	}
	c.Window = s.windowOr(4096)
	windowed := make([]bool, c.Layers)
	for i := min(s.count("max_window_layers", 28), c.Layers); i < c.Layers; i++ {
		windowed[i] = true
	}
	s.layerTypes(c, windowed)
}

func phiFolder(s *folder, c *Config) {
	c.NormEps = s.floatOr("rms_norm_eps", 1e-5)
	c.Window = s.windowOr(0)
	s.layerTypes(c, nil)
	if c.RoPE.Scaling != "" { // transformers takes any for longrope
		s.fail(fmt.Errorf("%w: %s: RoPE scaling %q, which is longrope here; take a model without it, such as one with 4k of context", ErrUnsupported, s.path, c.RoPE.Scaling))
	}
}

func gemma2Folder(s *folder, c *Config) {
	s.gemma(c, 2)
	c.AttentionCap = s.capOr("attn_logit_softcapping", 50)
	c.LogitCap = s.capOr("final_logit_softcapping", 30)
}

func gemma3Folder(s *folder, c *Config) {
	s.gemma(c, 6)
	c.AttentionCap = s.capOr("attn_logit_softcapping", 0)
	c.LogitCap = s.capOr("final_logit_softcapping", 0)
	local := s.rope(c, "sliding_attention")
	if !s.has("rope_parameters") { // as files had it before: only the full layers scale
		local = RoPE{Base: s.floatOr("rope_local_base_freq", 10000)}
	}
	c.WindowRoPE = &local
}

// gemma reads what both have; all but each n-th layer have a window.
func (s *folder) gemma(c *Config, n int) {
	if !s.has("head_dim") {
		c.HeadDim = 256
	}
	scalar := s.floatOr("query_pre_attn_scalar", 256)
	c.AttentionScale = 1 / math.Sqrt(scalar)
	if !(scalar > 0) {
		s.fail(fmt.Errorf("model: %s: query_pre_attn_scalar is %g; it must be positive", s.path, scalar))
	}
	if s.boolOr("use_bidirectional_attention", false) {
		s.fail(fmt.Errorf("%w: %s: use_bidirectional_attention", ErrUnsupported, s.path))
	}
	c.Window = s.windowOr(4096)
	n = s.intOr("sliding_window_pattern", s.intOr("_sliding_window_pattern", n, maxLayers), maxLayers)
	s.layerTypes(c, everyNthFull(c.Layers, n))
}

// windowOr returns how many positions a token sees where a layer has a window;
// null means all.
func (s *folder) windowOr(def int) int {
	if _, ok := s.values["sliding_window"]; ok {
		def = 0
	}
	return s.intOr("sliding_window", def, maxContext)
}

// capOr returns a soft cap; null means none.
func (s *folder) capOr(key string, def float64) float64 {
	if _, ok := s.values[key]; ok {
		def = 0
	}
	return s.floatOr(key, def)
}

// layerTypes reads which layers have a window; def if the file does not say.
func (s *folder) layerTypes(c *Config, def []bool) {
	c.Windowed = def
	if !s.has("layer_types") || s.err != nil {
		return
	}
	var types []string
	if err := json.Unmarshal(s.values["layer_types"], &types); err != nil || len(types) != c.Layers {
		s.fail(fmt.Errorf("model: %s: layer_types is not a list of %d texts", s.path, c.Layers))
		return
	}
	c.Windowed = make([]bool, c.Layers)
	for i, kind := range types {
		if kind != "full_attention" && kind != "sliding_attention" {
			s.fail(fmt.Errorf("%w: %s: layer_types[%d] is %q; known are full_attention, sliding_attention", ErrUnsupported, s.path, i, kind))
		}
		c.Windowed[i] = kind == "sliding_attention"
	}
}

// rope returns the rotation of the layers of a type. Files have rope_parameters,
// for all layers or by type; older ones rope_theta and rope_scaling.
func (s *folder) rope(c *Config, layers string) RoPE {
	p := s.object("rope_parameters")
	if p.has(layers) {
		p = p.object(layers)
	} else if !s.has("rope_parameters") {
		p = s.object("rope_scaling")
	}
	theta := 10000.0
	if s.kind.family == "gemma3" && layers == "full_attention" {
		theta = 1e6
	}
	r := RoPE{Base: p.floatOr("rope_theta", s.floatOr("rope_theta", theta))}
	part := p.floatOr("partial_rotary_factor", s.floatOr("partial_rotary_factor", 1))
	if !(part > 0 && part <= 1) {
		s.fail(fmt.Errorf("model: %s: partial_rotary_factor is %g; it must be over 0 and at most 1", s.path, part))
	} else if part < 1 {
		r.Dim = int(float64(c.HeadDim) * part)
	}
	r.Scaling = p.stringOr("rope_type", p.stringOr("type", ""))
	if r.Scaling == "default" {
		r.Scaling = ""
	}
	if r.Scaling != "" {
		r.Factor = p.floatOr("factor", 1)
		r.Original = p.intOr("original_max_position_embeddings", s.intOr("original_max_position_embeddings", c.Context, maxContext), maxContext)
	}
	switch r.Scaling {
	case "yarn":
		r.BetaFast, r.BetaSlow = p.floatOr("beta_fast", 0), p.floatOr("beta_slow", 0)
		r.Magnitude = p.floatOr("attention_factor", 0)
		if p.has("mscale") || p.has("mscale_all_dim") || !p.boolOr("truncate", true) {
			s.fail(fmt.Errorf("%w: %s: RoPE scaling yarn with mscale, mscale_all_dim or truncate", ErrUnsupported, s.path))
		}
	case "llama3":
		r.LowFreq, r.HighFreq = p.floatOr("low_freq_factor", 0), p.floatOr("high_freq_factor", 0)
	}
	return r
}

// fail notes an error, the first one only.
func (s *folder) fail(err error) {
	if s.root != nil {
		s.root.fail(err)
	} else if s.err == nil {
		s.err = err
	}
}

func (s *folder) has(key string) bool {
	v, ok := s.values[key]
	return ok && v.Kind() != 'n'
}

// object returns the object at key, empty if it is absent.
func (s *folder) object(key string) *folder {
	inner := &folder{path: s.path, root: s}
	if s.has(key) {
		if err := json.Unmarshal(s.values[key], &inner.values); err != nil {
			s.fail(fmt.Errorf("model: %s: %s is not an object", s.path, key))
		}
	}
	return inner
}

// read decodes the value at key, if there is one.
func (s *folder) read(key, want string, to any) bool {
	if !s.has(key) {
		return false
	}
	if err := json.Unmarshal(s.values[key], to); err != nil {
		s.fail(fmt.Errorf("model: %s: %s is %.40s; want %s", s.path, key, s.values[key], want))
		return false
	}
	return true
}

// int returns the number at key, which must lie in [1, most].
func (s *folder) int(key string, most int) int {
	n := s.count(key, -1)
	if n < 0 {
		s.fail(fmt.Errorf("model: %s: %s is missing", s.path, key))
	}
	if n < 1 || n > most {
		s.fail(fmt.Errorf("model: %s: %s is %d; it must be in [1, %d]", s.path, key, n, most))
		return 1
	}
	return n
}

// intOr is int with a default for an absent key.
func (s *folder) intOr(key string, def, most int) int {
	if !s.has(key) {
		return def
	}
	return s.int(key, most)
}

// count returns a whole number that is not negative, or def if there is none.
func (s *folder) count(key string, def int) int {
	var n uint32
	if !s.read(key, "a whole number", &n) {
		return def
	}
	return int(n)
}

func (s *folder) floatOr(key string, def float64) float64 {
	s.read(key, "a number", &def)
	return def
}

func (s *folder) boolOr(key string, def bool) bool {
	s.read(key, "true or false", &def)
	return def
}

func (s *folder) stringOr(key, def string) string {
	s.read(key, "a text", &def)
	return def
}
